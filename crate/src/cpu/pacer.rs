//! Giving the browser's event loop its turn between operations.

/// Milliseconds of work after which the event loop gets a turn: a page or worker stays responsive and hears of a cancel.
#[cfg(target_arch = "wasm32")]
const INTERVAL_MS: f64 = 20.0;

/// Gives way to the event loop about every 20 ms; natively it does nothing.
pub(super) struct Pacer {
    #[cfg(target_arch = "wasm32")]
    last: f64,
}

#[cfg(not(target_arch = "wasm32"))]
impl Pacer {
    pub(super) fn new() -> Self {
        Self {}
    }

    pub(super) async fn give_way(&mut self) {}
}

#[cfg(target_arch = "wasm32")]
impl Pacer {
    pub(super) fn new() -> Self {
        Self { last: js_sys::Date::now() }
    }

    pub(super) async fn give_way(&mut self) {
        if js_sys::Date::now() - self.last >= INTERVAL_MS {
            turn().await;
            self.last = js_sys::Date::now();
        }
    }
}

/// Resolves after the tasks that are queued now. A message to oneself, as nested timers are held back by 4 ms each; where
/// there is no MessageChannel it resolves at once.
#[cfg(target_arch = "wasm32")]
async fn turn() {
    use js_sys::{Array, Function, Promise, Reflect};
    use wasm_bindgen::{JsCast, JsValue};

    let channel = || -> Result<(JsValue, JsValue), JsValue> {
        let class: Function = Reflect::get(&js_sys::global(), &"MessageChannel".into())?.dyn_into()?;
        let channel = Reflect::construct(&class, &Array::new())?;
        Ok((Reflect::get(&channel, &"port1".into())?, Reflect::get(&channel, &"port2".into())?))
    };
    let Ok((receiver, sender)) = channel() else { return };
    let call = |port: &JsValue, method: &str| -> Result<JsValue, JsValue> {
        Reflect::get(port, &method.into())?.dyn_into::<Function>()?.call1(port, &JsValue::NULL)
    };
    let sent = Promise::new(&mut |resolve, _| {
        let listening = Reflect::set(&receiver, &"onmessage".into(), &resolve);
        if listening.and_then(|_| call(&sender, "postMessage")).is_err() {
            // Nothing will arrive: resolve now rather than never.
            let _ = resolve.call0(&JsValue::NULL);
        }
    });
    // The promise is never rejected, and a port left open would only keep a little memory.
    let _ = wasm_bindgen_futures::JsFuture::from(sent).await;
    let _ = call(&receiver, "close");
}
