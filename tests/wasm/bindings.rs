//! The JavaScript interface, called as JavaScript does, on the smallest golden pipeline.

use js_sys::{Float32Array, Function, JSON, Object, Promise, Reflect, Uint8Array};
use kinetoscope::web::{CancelFlag, Engine, JsGenerateOptions, Model, Session, WasmSource};
use wasm_bindgen::convert::TryFromJsValue;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_test::wasm_bindgen_test;

macro_rules! pipeline {
    ($($path:literal),*) => {
        [$(($path, include_bytes!(concat!("../golden/wan22/pipeline/", $path)).as_slice())),*]
    };
}

const FILES: [(&str, &[u8]); 10] = pipeline!(
    "kinetoscope.json",
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/tokenizer.json",
    "transformer/config.json",
    "transformer/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors"
);

/// A source over `files`. `changes` is the body of a function that changes it, such as `source.plan = () => {}`.
fn source(changes: &str) -> WasmSource {
    let files = Object::new();
    for (path, bytes) in FILES {
        Reflect::set(&files, &path.into(), &Uint8Array::from(bytes)).unwrap();
    }
    let body = format!(
        "const source = {{
            async size(path) {{
                if (!files[path]) throw {{ code: 'file_missing', message: path, details: {{ path }} }};
                return files[path].length;
            }},
            async read(path, start, end) {{ return files[path].slice(start, end); }},
        }};
        {changes}
        return source;"
    );
    let made = Function::new_with_args("files", &body).call1(&JsValue::UNDEFINED, &files);
    made.unwrap().unchecked_into()
}

async fn engine(device: &str) -> Engine {
    create(device.into(), None).await.unwrap_or_else(|error| panic!("{error}"))
}

async fn create(device: JsValue, memory: Option<f64>) -> kinetoscope::Result<Engine> {
    Engine::create(device, memory, JsValue::UNDEFINED, JsValue::UNDEFINED).await
}

async fn settled(promise: Promise) -> Result<JsValue, JsValue> {
    JsFuture::from(promise).await
}

async fn load(engine: &Engine, source: WasmSource, on_progress: &str) -> Result<Model, JsValue> {
    let on_progress = Function::new_with_args("progress", on_progress);
    let loaded = settled(engine.load(source, on_progress, &CancelFlag::new())).await?;
    Ok(Model::try_from_js_value(loaded).unwrap())
}

/// A loaded model on the CPU.
async fn model() -> (Engine, Model) {
    let engine = engine("cpu").await;
    let model = load(&engine, source(""), "").await.unwrap();
    (engine, model)
}

fn options(json: &str) -> JsGenerateOptions {
    js(json).unchecked_into()
}

/// The value of a JavaScript expression.
fn js(expression: &str) -> JsValue {
    Function::new_no_args(&format!("return {expression}")).call0(&JsValue::UNDEFINED).unwrap()
}

fn get(value: &JsValue, name: &str) -> JsValue {
    Reflect::get(value, &name.into()).unwrap()
}

fn number(value: &JsValue, name: &str) -> f64 {
    get(value, name).as_f64().unwrap_or_else(|| panic!("{name} of {value:?} is no number"))
}

/// The code of an error, and its details as JSON; it has to be an Error with a message.
fn failure(thrown: JsValue) -> (String, String) {
    let error: js_sys::Error = thrown.dyn_into().unwrap_or_else(|other| panic!("{other:?} is no Error"));
    assert!(error.message().length() > 0);
    let details = JSON::stringify(&get(&error, "details")).unwrap();
    (get(&error, "code").as_string().unwrap(), details.into())
}

fn failed<T>(result: Result<T, impl Into<JsValue>>) -> (String, String) {
    match result {
        Ok(_) => panic!("it did not fail"),
        Err(error) => failure(error.into()),
    }
}

fn facts(code: &str, details: &str) -> (String, String) {
    (code.into(), details.into())
}

/// Every step and every frame: the latents and the RGBA bytes.
async fn clip(session: &Session) -> (Vec<f32>, Vec<u8>) {
    settled(session.encode()).await.unwrap();
    let mut steps = 0.0;
    loop {
        let event = settled(session.step()).await.unwrap();
        if event.is_undefined() {
            break;
        }
        assert_eq!((number(&event, "index"), number(&event, "steps")), (steps, session.steps() as f64));
        steps += 1.0;
    }
    assert_eq!(steps, session.steps() as f64);
    let latents = settled(session.latents()).await.unwrap().unchecked_into::<Float32Array>().to_vec();
    let mut rgba = Vec::new();
    let frame_bytes = session.width() * session.height() * 4;
    loop {
        let event = settled(session.next_frames()).await.unwrap();
        if event.is_undefined() {
            break;
        }
        assert_eq!(number(&event, "index") as usize * frame_bytes, rgba.len());
        let bytes = get(&event, "rgba").dyn_into::<Uint8Array>().unwrap().to_vec();
        assert_eq!(bytes.len(), number(&event, "count") as usize * frame_bytes);
        rgba.extend(bytes);
    }
    assert_eq!(rgba.len(), session.frames() * frame_bytes);
    (latents, rgba)
}

#[wasm_bindgen_test]
async fn devices() {
    let choices =
        "{\"option\":\"device\",\"expected\":\"\\\"auto\\\", \\\"webgpu\\\" or \\\"cpu\\\"\",\"found\":";
    let expected = facts("option_invalid", &format!("{choices}\"\\\"tpu\\\"\"}}"));
    assert_eq!(failed(create("tpu".into(), None).await), expected);
    let expected = facts("option_invalid", &format!("{choices}\"5\"}}"));
    assert_eq!(failed(create(5.into(), None).await), expected);
    for device in ["cpu", "webgpu"] {
        let engine = engine(device).await;
        let info = engine.info().unwrap();
        assert_eq!(get(&info, "device"), device);
        assert!(number(&info, "maxBinding") >= f64::from(128 << 20), "{info:?}");
        assert!(number(&info, "maxBuffer") >= f64::from(256 << 20), "{info:?}");
        assert!(get(&info, "fallbackReason").is_undefined());
        assert_eq!(engine.allocated_bytes(), 0.0);
    }
}

#[wasm_bindgen_test]
async fn a_clip_is_the_same_on_both_devices() {
    let mut clips = Vec::new();
    for device in ["cpu", "webgpu"] {
        let engine = engine(device).await;
        let model = load(&engine, source(""), "").await.unwrap();
        let session = model.session(&options("{ prompt: 'a dragon', seed: 7 }"), &CancelFlag::new()).unwrap();
        clips.push(clip(&session).await);
    }
    let [(latents, rgba), (gpu_latents, gpu_rgba)] = clips.as_slice() else { panic!("two devices") };
    // The natively measured distance of the executors after these four guided steps is some 1e-5.
    for (a, b) in latents.iter().zip(gpu_latents) {
        assert!((a - b).abs() < 1e-3, "{a} and {b}");
    }
    for (a, b) in rgba.iter().zip(gpu_rgba) {
        assert!(a.abs_diff(*b) <= 1, "{a} and {b}");
    }
    let distinct: std::collections::HashSet<_> = rgba.iter().collect();
    assert!(distinct.len() > 30, "the clip has a picture");
}

#[wasm_bindgen_test]
async fn a_model_and_its_plan() {
    let (engine, model) = model().await;
    let info = model.info().unwrap();
    assert_eq!(get(&info, "name"), "wan22");
    assert_eq!(get(&info, "solver"), "euler");
    for (name, value) in
        [("width", 96), ("height", 64), ("frames", 5), ("steps", 4), ("maxTokens", 32), ("frameStride", 4)]
    {
        assert_eq!(number(&info, name), f64::from(value), "{name}");
    }
    assert!(engine.allocated_bytes() >= number(&info, "weightBytes"));
    let plan = model.plan(&options("{ prompt: '' }")).unwrap();
    assert!(number(&plan, "peakBytes") > number(&plan, "weightBytes"));
    // The CPU binds nothing.
    assert_eq!(number(&plan, "largestBinding"), 0.0);
    let code = failed(model.plan(&options("{ prompt: '', frames: 6 }"))).0;
    assert_eq!(code, "frames_unsupported");
    drop(model);
    assert_eq!(engine.allocated_bytes(), 0.0);
}

/// Before a weight is read: what a clip takes, or the nearest one that has room.
#[wasm_bindgen_test]
async fn a_clip_is_planned_from_headers() {
    let counting = "source.read = async (path, start, end) => {
        globalThis.bytesRead = (globalThis.bytesRead ?? 0) + (end - start);
        return files[path].slice(start, end);
    };";
    let asked = options("{ prompt: 'a dragon' }");
    let advice = settled(engine("webgpu").await.plan(source(counting), &asked)).await.unwrap();
    let plan = get(&advice, "plan");
    assert!(number(&plan, "largestBinding") > 0.0 && get(&advice, "obstacle").is_undefined());
    let all = number(&get(&advice, "download"), "transformer");
    assert!(js("globalThis.bytesRead").as_f64().unwrap() < all, "weights were read");
    let little = create("webgpu".into(), Some(100_000.0)).await.unwrap();
    let advice = settled(little.plan(source(""), &asked)).await.unwrap();
    assert!(get(&advice, "plan").is_undefined());
    assert_eq!(number(&get(&advice, "obstacle"), "allowed"), 100_000.0);
    assert!(get(&advice, "alternatives").is_instance_of::<js_sys::Array>());
    let code = failed(settled(little.plan(source(""), &options("{ prompt: '', width: 33 }"))).await).0;
    assert_eq!(code, "size_unsupported");
    for wrong in [-1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(failed(create("webgpu".into(), Some(wrong)).await).0, "option_invalid");
    }
    // More than wasm itself could address.
    let memory = Some(8.0 * 1024.0 * 1024.0 * 1024.0);
    // What is no list of tunings says nothing.
    Engine::create("webgpu".into(), memory, "nonsense".into(), JsValue::UNDEFINED).await.unwrap();
    for precision in ["f64".into(), 16.into()] {
        let created = Engine::create("webgpu".into(), None, JsValue::UNDEFINED, precision).await;
        assert_eq!(failed(created).0, "option_invalid");
    }
}

/// Weights that leave the device and come back make the same clip.
#[wasm_bindgen_test]
async fn weights_take_turns() {
    for device in ["cpu", "webgpu"] {
        let asked = options("{ prompt: 'a dragon', seed: 7 }");
        let engine = engine(device).await;
        let model = load(&engine, source(""), "").await.unwrap();
        let peak = number(&model.plan(&asked).unwrap(), "peakBytes");
        let expected = clip(&model.session(&asked, &CancelFlag::new()).unwrap()).await;
        let narrow = create(device.into(), Some(peak - 1.0)).await.unwrap();
        let fetching = "source.fetch = async (path, start, end) => { globalThis.fetched = path; };";
        let model = load(&narrow, source(fetching), "").await.unwrap();
        assert!(narrow.allocated_bytes() < engine.allocated_bytes(), "nothing is on the device yet");
        assert!(js("globalThis.fetched").is_string());
        let found = clip(&model.session(&asked, &CancelFlag::new()).unwrap()).await;
        assert!(found == expected, "{device}");
        js("delete globalThis.fetched");
    }
}

#[wasm_bindgen_test]
async fn progress_and_plan_cover_the_same_bytes() {
    let engine = engine("cpu").await;
    let source = source("source.plan = spans => globalThis.spans = spans;");
    let model = load(&engine, source, "(globalThis.progress ??= []).push(progress)").await.unwrap();
    let planned = js("spans.reduce((sum, { start, end }) => sum + end - start, 0)");
    assert_eq!(js("progress.at(-1).loaded"), planned);
    assert_eq!(js("progress.at(-1).total"), planned);
    assert!(js("progress.every((p, i) => i == 0 || p.loaded > progress[i - 1].loaded)").is_truthy());
    drop(model);
}

#[wasm_bindgen_test]
async fn what_a_source_throws_keeps_its_meaning() {
    let engine = engine("cpu").await;
    let vae = "vae/diffusion_pytorch_model.safetensors";
    for (changes, expected) in [
        (
            "delete files['tokenizer/tokenizer.json']",
            facts("file_missing", r#"{"path":"tokenizer/tokenizer.json"}"#),
        ),
        (
            "source.size = async () => { throw new DOMException('stopped', 'AbortError') }",
            facts("cancelled", "{}"),
        ),
        (
            "source.size = async () => { throw { code: 'cancelled', message: 'x', details: {} } }",
            facts("cancelled", "{}"),
        ),
        (
            "source.size = () => { throw new TypeError('no network') }",
            facts("read_failed", r#"{"path":"model_index.json","reason":"no network"}"#),
        ),
        (
            "source.size = async () => -1",
            facts(
                "read_failed",
                r#"{"path":"model_index.json","reason":"its size is -1, expected a number of bytes"}"#,
            ),
        ),
        (
            "delete source.read",
            facts("read_failed", r#"{"path":"model_index.json","reason":"this.read is not a function"}"#),
        ),
        (
            "source.read = async () => 'text'",
            facts(
                "read_failed",
                r#"{"path":"model_index.json","reason":"the source did not give a Uint8Array"}"#,
            ),
        ),
        (
            "source.read = async path => { throw { code: 'file_truncated', message: 'x', details: { expected: 9, found: 4 } } }",
            facts("file_truncated", r#"{"path":"model_index.json","expected":9,"found":4}"#),
        ),
        (
            "source.plan = () => { throw new Error('not today') }",
            facts("read_failed", r#"{"path":"text_encoder/model.safetensors","reason":"not today"}"#),
        ),
    ] {
        let result = load(&engine, source(changes), "").await;
        let (code, details) = failed(result);
        if changes == "delete source.read" {
            // The rest is the browser's own words.
            assert_eq!(code, "read_failed");
            assert!(details.contains("read"), "{details}");
        } else {
            assert_eq!((code, details), expected, "{changes}");
        }
        assert_eq!(engine.allocated_bytes(), 0.0, "{changes}");
    }
    // One byte too few, in the middle of the weights.
    let short = format!(
        "const read = source.read;
         source.read = async (path, start, end) => (await read(path, start, end))
             .subarray(0, end - start - (path === '{vae}' && end > 100_000 ? 1 : 0))"
    );
    assert_eq!(failed(load(&engine, source(&short), "").await).0, "file_truncated");
    let long = "source.read = async (path, start, end) => files[path].slice(start, end + 1)";
    assert_eq!(failed(load(&engine, source(long), "").await).0, "read_failed");
    assert_eq!(engine.allocated_bytes(), 0.0);
}

#[wasm_bindgen_test]
async fn a_load_ends_with_what_the_progress_callback_throws() {
    let engine = engine("cpu").await;
    let Err(thrown) = load(&engine, source(""), "throw new RangeError('the page is gone')").await else {
        panic!("it was loaded")
    };
    assert!(thrown.is_instance_of::<js_sys::RangeError>());
    assert_eq!(engine.allocated_bytes(), 0.0);
}

#[wasm_bindgen_test]
async fn a_load_is_cancelled() {
    let engine = engine("cpu").await;
    let cancel = CancelFlag::new();
    let promise = engine.load(source(""), Function::new_no_args(""), &cancel);
    cancel.cancel();
    assert_eq!(failed(settled(promise).await), facts("cancelled", "{}"));
    assert_eq!(engine.allocated_bytes(), 0.0);
}

#[wasm_bindgen_test]
async fn options_are_checked() {
    let (_engine, model) = model().await;
    let open = |text: &str| model.session(&options(text), &CancelFlag::new());
    for (text, option, found) in [
        ("{}", "prompt", "undefined"),
        ("{ prompt: 5 }", "prompt", "5"),
        ("null", "options", "object"),
        ("undefined", "options", "undefined"),
        ("{ prompt: '', width: '64' }", "width", "\"64\""),
        ("{ prompt: '', height: 64.5 }", "height", "64.5"),
        ("{ prompt: '', frames: -3 }", "frames", "-3"),
        ("{ prompt: '', frames: 2 ** 32 + 5 }", "frames", "4294967301"),
        ("{ prompt: '', steps: NaN }", "steps", "NaN"),
        ("{ prompt: '', steps: 0 }", "steps", "0"),
        ("{ prompt: '', guidance: true }", "guidance", "true"),
        ("{ prompt: '', guidance: NaN }", "guidance", "NaN"),
        ("{ prompt: '', shift: {} }", "shift", "object"),
        ("{ prompt: '', solver: 'ddim' }", "solver", "\"ddim\""),
        ("{ prompt: '', seed: 0.5 }", "seed", "0.5"),
        ("{ prompt: '', seed: -1n }", "seed", "-1"),
        ("{ prompt: '', seed: 2n ** 64n }", "seed", "18446744073709551616"),
        ("{ prompt: '', maxTokens: 0 }", "maxTokens", "0"),
        ("{ prompt: '', given: {} }", "given", "object"),
        ("{ prompt: '', given: [5] }", "options", "5"),
        ("{ prompt: '', given: [{ at: 0.5 }] }", "given[0].at", "0.5"),
        ("{ prompt: '', given: [{ at: 0, width: 'x' }] }", "given[0].width", "\"x\""),
        ("{ prompt: '', given: [{ at: 0, width: 96, height: 64, rgba: [] }] }", "given[0].rgba", "object"),
        ("{ prompt: '', edit: { width: 96, height: 64 } }", "strength", "undefined"),
    ] {
        let error = open(text).err().unwrap_or_else(|| panic!("{text} was accepted"));
        let kinetoscope::Error::OptionInvalid { option: name, found: value, .. } = error else {
            panic!("{text} gave {error}")
        };
        assert_eq!((name.as_str(), value.as_str()), (option, found), "{text}");
    }
    let (code, details) = failed(open("{ prompt: '', width: 100 }"));
    assert_eq!(code, "size_unsupported");
    assert!(details.contains(r#""width":100,"#) && details.contains(r#""nearestWidth":96,"#), "{details}");
    // Null and undefined are the default.
    let session =
        open("{ prompt: '', width: null, frames: undefined, seed: null, solver: 'unipc' }").unwrap();
    assert_eq!((session.width(), session.height(), session.frames(), session.steps()), (96, 64, 5, 4));
}

/// Two seeds share what they are given: the first frame is that picture, through encoder and decoder.
#[wasm_bindgen_test]
async fn a_clip_begins_with_a_given_picture() {
    let (_engine, model) = model().await;
    let picture =
        "{ width: 96, height: 64, rgba: new Uint8ClampedArray(96 * 64 * 4).map((_, i) => i % 251) }";
    let mut firsts = Vec::new();
    for (more, dropped) in [
        (format!("seed: 1, given: [{{ at: 0, ...{picture} }}]"), 0),
        (format!("seed: 2, given: [{{ at: 0, ...{picture} }}]"), 0),
        (format!("seed: 1, given: [{{ at: -1, ...{picture} }}]"), 0),
        (format!("seed: 1, given: [{{ at: 0, ...{picture} }}, {{ at: 1, ...{picture} }}]"), 1),
        (format!("edit: {{ strength: 0, ...{picture} }}, frames: 1"), 0),
    ] {
        let options = options(&format!("{{ prompt: 'a dragon', {more} }}"));
        let session = model.session(&options, &CancelFlag::new()).unwrap();
        assert_eq!(session.dropped_frames(), dropped, "{more}");
        let (_, rgba) = clip(&session).await;
        firsts.push(rgba[..96 * 64 * 4].to_vec());
    }
    assert!(firsts[0] == firsts[1] && firsts[0] == firsts[3] && firsts[0] == firsts[4]);
    assert!(firsts[0] != firsts[2]);
}

#[wasm_bindgen_test]
async fn a_film_goes_on_window_by_window_and_shows_where_it_goes() {
    let engine = engine("cpu").await;
    let with_map = "const settings = JSON.parse(new TextDecoder().decode(files['kinetoscope.json']));
        settings.latent_rgb = { weights: Array(12).fill([0.1, 0.2, 0.3]), bias: [0.5, 0.5, 0.5] };
        files['kinetoscope.json'] = new TextEncoder().encode(JSON.stringify(settings));";
    let model = load(&engine, source(with_map), "").await.unwrap();
    assert_eq!(get(&model.info().unwrap(), "preview"), true);
    // A second is 8 frames, brought up to 9: windows of 5 that share one.
    let asked = "{ prompt: 'a dragon', seconds: 1, frames: 5, steps: 2, aspect: 1, preview: true,
        prompts: [{ at: 0.7, prompt: 'a red ball' }] }";
    let session = model.session(&options(asked), &CancelFlag::new()).unwrap();
    assert_eq!((session.frames(), session.windows()), (9, 2));
    assert_eq!(failed(settled(session.next_window()).await).0, "wrong_state");
    let mut frames = 0;
    loop {
        settled(session.encode()).await.unwrap();
        let step = settled(session.step()).await.unwrap();
        let preview = get(&step, "preview");
        let sides = [session.width() / 16, session.height() / 16].map(|side| side as f64);
        assert_eq!([number(&preview, "width"), number(&preview, "height")], sides);
        let bytes = get(&preview, "rgba").dyn_into::<Uint8Array>().unwrap().length();
        assert_eq!(f64::from(bytes), number(&preview, "frames") * sides[0] * sides[1] * 4.0);
        while !settled(session.step()).await.unwrap().is_undefined() {}
        loop {
            let event = settled(session.next_frames()).await.unwrap();
            if event.is_undefined() {
                break;
            }
            assert_eq!(number(&event, "index") as usize, frames);
            frames += number(&event, "count") as usize;
        }
        if settled(session.next_window()).await.unwrap() == false {
            break;
        }
        assert_eq!(frames, 4);
    }
    assert_eq!(frames, 9);
    for (text, option) in [
        ("{ prompt: '', seconds: '3' }", "seconds"),
        ("{ prompt: '', seconds: 61 }", "seconds"),
        ("{ prompt: '', prompts: [{ prompt: 'x' }] }", "prompts[0].at"),
        ("{ prompt: '', aspect: -1 }", "aspect"),
        ("{ prompt: '', preview: 1 }", "preview"),
    ] {
        let (code, details) = failed(model.session(&options(text), &CancelFlag::new()));
        assert!(code == "option_invalid" && details.contains(option), "{text}: {details}");
    }
}

#[wasm_bindgen_test]
async fn a_seed_is_a_number_or_a_bigint() {
    let (_engine, model) = model().await;
    let mut noise = Vec::new();
    for seed in ["123456789012", "123456789012n", "4"] {
        let options = options(&format!("{{ prompt: '', seed: {seed} }}"));
        let session = model.session(&options, &CancelFlag::new()).unwrap();
        settled(session.encode()).await.unwrap();
        noise.push(settled(session.latents()).await.unwrap().unchecked_into::<Float32Array>().to_vec());
    }
    assert_eq!(noise[0], noise[1]);
    assert_ne!(noise[0], noise[2]);
}

#[wasm_bindgen_test]
async fn one_call_at_a_time() {
    let (_engine, model) = model().await;
    let session = model.session(&options("{ prompt: 'a dragon' }"), &CancelFlag::new()).unwrap();
    assert_eq!(failed(settled(session.step()).await).0, "wrong_state");
    let encoding = session.encode();
    let (code, details) = failed(settled(session.step()).await);
    assert_eq!(code, "wrong_state");
    assert!(details.contains(r#""call":"step""#), "{details}");
    assert_eq!(session.steps(), 4);
    let event = settled(encoding).await.unwrap();
    assert!(number(&event, "tokens") > 1.0);
    let embeds: Float32Array = settled(session.prompt_embeds()).await.unwrap().unchecked_into();
    assert_eq!(embeds.length() % 32, 0);
    // After an error the session goes on where it was.
    assert_eq!(failed(settled(session.next_frames()).await).0, "wrong_state");
    assert_eq!(number(&settled(session.step()).await.unwrap(), "index"), 0.0);
}

#[wasm_bindgen_test]
async fn cancelled_and_freed_while_a_call_runs() {
    for device in ["cpu", "webgpu"] {
        let engine = engine(device).await;
        let model = load(&engine, source(""), "").await.unwrap();
        let loaded = engine.allocated_bytes();
        let cancel = CancelFlag::new();
        let session = model.session(&options("{ prompt: 'a dragon' }"), &cancel).unwrap();
        settled(session.encode()).await.unwrap();
        assert!(engine.allocated_bytes() > loaded);
        let step = session.step();
        cancel.cancel();
        drop(session);
        drop(cancel);
        assert_eq!(failed(settled(step).await), facts("cancelled", "{}"));
        assert_eq!(engine.allocated_bytes(), loaded, "{device}");
    }
}

#[wasm_bindgen_test]
async fn videos_are_encoded() {
    let (_engine, model) = model().await;
    let gray = vec![0.0; 64 * 96 * 3];
    let cancel = CancelFlag::new();
    let latents = settled(model.encode_video(gray.clone(), 1.0, 64.0, 96.0, &cancel)).await.unwrap();
    let latents = latents.unchecked_into::<Float32Array>().to_vec();
    assert!(!latents.is_empty() && latents.iter().all(|v| v.is_finite()));
    let encode =
        |frames, height, width| settled(model.encode_video(gray.clone(), frames, height, width, &cancel));
    assert_eq!(failed(encode(1.0, 64.5, 96.0).await).0, "option_invalid");
    assert_eq!(failed(encode(2.0, 64.0, 96.0).await).0, "frames_unsupported");
    assert_eq!(failed(encode(1.0, 64.0, 90.0).await).0, "size_unsupported");
    assert_eq!(failed(encode(1.0, 64.0, 192.0).await).0, "shape_mismatch");
}
