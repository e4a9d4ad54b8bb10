//! The bench, called as JavaScript does.

use js_sys::{Array, Promise, Reflect};
use kinetoscope::web::{Bench, CancelFlag};
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_test::wasm_bindgen_test;

fn get(value: &JsValue, name: &str) -> JsValue {
    Reflect::get(value, &name.into()).unwrap()
}

fn code<T>(result: Result<T, impl Into<JsValue>>) -> JsValue {
    match result {
        Ok(_) => panic!("it did not fail"),
        Err(error) => get(&error.into(), "code"),
    }
}

async fn settled(promise: Promise) -> Result<JsValue, JsValue> {
    JsFuture::from(promise).await
}

#[wasm_bindgen_test]
async fn cases_run_on_both_devices() {
    for device in ["cpu", "webgpu"] {
        let bench = Bench::open(device.into(), 100.0).await.unwrap_or_else(|error| panic!("{error}"));
        let header = bench.header().unwrap();
        assert_eq!(get(&get(&header, "device"), "device"), device);
        assert!(get(&header, "peak").as_f64().unwrap() > 0.0);
        let cases: Array = bench.cases(vec!["conv".into()]).unwrap().into();
        let id = get(&cases.get(0), "id").as_string().unwrap();
        for id in ["attention/4x48/80x80".to_owned(), id] {
            let report = settled(bench.run(id, &CancelFlag::new())).await.unwrap();
            assert_eq!(get(&report, "outcome"), "measured", "{report:?}");
            // As tests/native/bench.rs has it.
            let error = get(&get(&report, "error"), "relative").as_f64().unwrap();
            assert!(error > 0.0 && error < 1e-5, "{device}: {error}");
        }
        // What a browser does not have is skipped; what it has compiles and runs.
        for id in ["peak/f16", "peak/dot4"] {
            let report = settled(bench.run(id.into(), &CancelFlag::new())).await.unwrap();
            assert_ne!(get(&report, "outcome"), "failed", "{device}: {report:?}");
        }
    }
}

#[wasm_bindgen_test]
async fn what_cannot_be_measured() {
    assert_eq!(code(Bench::open("tpu".into(), 1.0).await), "option_invalid");
    assert_eq!(code(Bench::open("cpu".into(), f64::NAN).await), "option_invalid");
    let bench = Bench::open("cpu".into(), 1e-4).await.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(code(bench.cases(vec!["fast".into()])), "option_invalid");
    let cancel = CancelFlag::new();
    assert_eq!(code(settled(bench.run("nothing".into(), &cancel)).await), "option_invalid");
    let skipped = settled(bench.run("gemm/32760x3072x14336/f32".into(), &cancel)).await.unwrap();
    assert_eq!(get(&skipped, "outcome"), "skipped");
    assert!(get(&skipped, "reason").as_string().is_some_and(|reason| reason.contains("peak")));
    cancel.cancel();
    assert_eq!(code(settled(bench.run("peak/f32".into(), &cancel)).await), "cancelled");
}
