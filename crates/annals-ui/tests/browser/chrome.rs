//! A headless Chromium, driven over a pair of pipes by its `DevTools` protocol.
//!
//! Owns the process, which ends with the value. Messages are JSON values that end with a zero byte.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

/// The variable that names the browser's program.
const PROGRAM: &str = "ANNALS_CHROMIUM";
/// A browser on a busy machine is slow; a test waits this long before it fails.
const PATIENCE: Duration = Duration::from_secs(90);

/// A page in a browser of its own.
pub(crate) struct Page {
    browser: Child,
    input: File,
    messages: Receiver<Value>,
    session: Option<String>,
    next_id: u64,
    /// Events that came while an answer was waited for.
    events: Vec<Value>,
    _dir: tempfile::TempDir,
}

impl Drop for Page {
    fn drop(&mut self) {
        let _ended = self.browser.kill();
        let _status = self.browser.wait();
    }
}

impl Page {
    /// Starts a browser; `None`, with a message, where there is none.
    pub(crate) fn start() -> Option<Self> {
        let Ok(program) = std::env::var(PROGRAM) else {
            println!("skipped: {PROGRAM} names no browser; .ci/browser sets it");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        let (to, from) = (dir.path().join("to"), dir.path().join("from"));
        assert!(Command::new("mkfifo").args([&to, &from]).status().unwrap().success());
        // The browser reads from descriptor 3 and writes to descriptor 4.
        let browser = Command::new("sh")
            .args(["-c", "to=$1 from=$2; shift 2; exec \"$@\" 3< \"$to\" 4> \"$from\"", "sh"])
            .args([&to, &from])
            .arg(program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args([
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
            ])
            .args(["--hide-scrollbars", "--lang=en-US", "--remote-debugging-pipe"])
            .arg(format!("--user-data-dir={}", dir.path().join("profile").display()))
            .arg("about:blank")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let input = File::options().write(true).open(&to).unwrap();
        let output = BufReader::new(File::open(&from).unwrap());
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            for message in output.split(0).map_while(Result::ok) {
                let Ok(message) = serde_json::from_slice(&message) else { break };
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        let (session, events) = (None, Vec::new());
        let mut page = Self { browser, input, messages, session, next_id: 0, events, _dir: dir };
        page.attach();
        Some(page)
    }

    fn attach(&mut self) {
        let target = self.call("Target.createTarget", json!({ "url": "about:blank" }));
        let target = json!({ "targetId": target["targetId"], "flatten": true });
        let session = self.call("Target.attachToTarget", target);
        self.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            self.call(&format!("{domain}.enable"), json!({}));
        }
        self.size(1000, 700);
        self.call("Emulation.setTimezoneOverride", json!({ "timezoneId": "Asia/Tokyo" }));
    }

    /// Calls a method of the protocol, and returns its result.
    pub(crate) fn call(&mut self, method: &str, params: Value) -> Value {
        self.try_call(method, params).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// Like `call`, with the browser's error. While a page gives way to another one, calls to it fail.
    #[expect(clippy::needless_pass_by_value, reason = "callers make the value in the call")]
    fn try_call(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        self.next_id += 1;
        let id = self.next_id;
        let mut message = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        self.input.write_all(message.to_string().as_bytes()).unwrap();
        self.input.write_all(&[0]).unwrap();
        loop {
            let mut message = self.messages.recv_timeout(PATIENCE).expect(method);
            if message["id"] == id {
                let error = message["error"].take();
                return if error.is_null() { Ok(message["result"].take()) } else { Err(error) };
            }
            self.events.push(message);
        }
    }

    pub(crate) fn size(&mut self, width: u32, height: u32) {
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size);
    }

    pub(crate) fn dark(&mut self, is_dark: bool) {
        let value = if is_dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": value }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    pub(crate) fn scripts(&mut self, are_on: bool) {
        self.call("Emulation.setScriptExecutionDisabled", json!({ "value": !are_on }));
    }

    /// Loads an address, until its scripts have run.
    pub(crate) fn open(&mut self, address: &str) {
        self.events.retain(|event| event["method"] != "Page.loadEventFired");
        let done = self.call("Page.navigate", json!({ "url": address }));
        assert!(done["errorText"].is_null(), "{address}: {done}");
        self.loaded();
    }

    /// Waits for a page to be loaded.
    pub(crate) fn loaded(&mut self) {
        let started = Instant::now();
        loop {
            let found = self.events.iter().position(|it| it["method"] == "Page.loadEventFired");
            if let Some(found) = found {
                self.events.remove(found);
                return;
            }
            let left = PATIENCE.saturating_sub(started.elapsed());
            let message = self.messages.recv_timeout(left).expect("the page is loaded in time");
            self.events.push(message);
        }
    }

    /// The value of an expression in the page.
    pub(crate) fn eval(&mut self, expression: &str) -> Value {
        let params =
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut done = match self.try_call("Runtime.evaluate", params) {
            Ok(done) => done,
            // The expression opened another page before it had a value.
            Err(error) if error.to_string().contains("navigated") => return Value::Null,
            Err(error) => panic!("{expression}: {error}"),
        };
        assert!(done["exceptionDetails"].is_null(), "{expression}: {done}");
        done["result"]["value"].take()
    }

    /// The text that a reader sees.
    pub(crate) fn text(&mut self) -> String {
        self.eval("document.body.innerText").as_str().unwrap_or_default().to_owned()
    }

    /// Waits until an expression is true. A page that is being loaded has not become true yet.
    #[track_caller]
    pub(crate) fn until(&mut self, expression: &str) {
        let started = Instant::now();
        loop {
            let params = json!({ "expression": expression, "returnByValue": true });
            let found = self.try_call("Runtime.evaluate", params);
            if found.is_ok_and(|found| found["result"]["value"] == true) {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "{expression} in:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// Presses a key.
    pub(crate) fn press(&mut self, key: &str) {
        let (text, code) = match key {
            "Enter" => ("\r", 13),
            "Tab" => ("", 9),
            "ArrowDown" => ("", 40),
            "ArrowUp" => ("", 38),
            key => (key, 0),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({ "type": kind, "key": key, "windowsVirtualKeyCode": code });
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = text.into();
            }
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// A picture of what is visible, if `ANNALS_SCREENSHOTS` names a directory for it.
    pub(crate) fn screenshot(&mut self, name: &str) {
        let Ok(directory) = std::env::var("ANNALS_SCREENSHOTS") else { return };
        let shot = self.call("Page.captureScreenshot", json!({ "format": "png" }));
        let bytes = BASE64_STANDARD.decode(shot["data"].as_str().unwrap()).unwrap();
        std::fs::write(format!("{directory}/{name}.png"), bytes).unwrap();
    }

    /// Asserts that no page so far has reported an error, broken a rule of the policy, or asked for anything elsewhere.
    #[track_caller]
    pub(crate) fn is_clean(&mut self, address: &str) {
        self.eval("1");
        for event in &self.events {
            let params = &event["params"];
            match event["method"].as_str().unwrap_or_default() {
                "Log.entryAdded" => {
                    let entry = &params["entry"];
                    assert_ne!(entry["level"], "error", "{entry}");
                    assert_ne!(entry["source"], "security", "{entry}");
                }
                "Runtime.exceptionThrown" => panic!("{params}"),
                "Network.requestWillBeSent" => {
                    let url = params["request"]["url"].as_str().unwrap();
                    assert!(url.starts_with(address), "{url} is not of {address}");
                }
                _ => {}
            }
        }
    }
}
