//! A real browser without a screen, spoken to over its debugging pipe (the Chrome DevTools Protocol): pages are opened,
//! clicked and typed into, and nothing that they complain of is overlooked.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use base64::Engine;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::part;
use crate::wait;

/// Keeps a browser to what it is asked for.
const QUIET: [&str; 12] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--hide-scrollbars",
    "--enable-precise-memory-info",
    "--remote-debugging-pipe",
];

/// How long one command may take.
const ANSWER: Duration = Duration::from_secs(60);

/// A browser with one page.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    events: Vec<Value>,
    session: Option<String>,
    number: u64,
    _profile: TempDir,
}

impl Browser {
    /// Starts `program`, its files below `dir`.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(program: &Path, dir: &Path) -> Self {
        let profile = tempfile::Builder::new().prefix("browser-").tempdir_in(dir).expect("a directory for its profile");
        // The debugging pipe has the descriptors 3 and 4.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>/dev/null"])
            .arg(program)
            .args(QUIET)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .env(part::MARK, dir)
            .env("HOME", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the browser must start");
        let commands = child.stdin.take().expect("a pipe");
        let answers = child.stdout.take().expect("a pipe");
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            let mut answers = BufReader::new(answers);
            let mut message = Vec::new();
            while answers.read_until(0, &mut message).is_ok_and(|count| count > 0) {
                message.pop();
                let Ok(value) = serde_json::from_slice(&message) else { return };
                if sender.send(value).is_err() {
                    return;
                }
                message.clear();
            }
        });
        let mut browser =
            Self { child, commands, messages, events: Vec::new(), session: None, number: 0, _profile: profile };
        browser.attach();
        browser
    }

    fn attach(&mut self) {
        let target = wait::until("the browser has a page", || {
            let targets = self.call("Target.getTargets", json!({}));
            let pages = targets["targetInfos"].as_array().into_iter().flatten();
            pages
                .filter(|target| target["type"] == "page")
                .find_map(|target| target["targetId"].as_str().map(str::to_owned))
        });
        let attached = self.call("Target.attachToTarget", json!({"targetId": target, "flatten": true}));
        self.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            self.call(&format!("{domain}.enable"), json!({}));
        }
        self.resize(1280, 900);
    }

    /// One command of the protocol, and what it gives.
    ///
    /// # Panics
    /// When the browser refuses, ends, or does not answer.
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.try_call(method, parameters).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// One command of the protocol; the browser may refuse it, as while a page is left.
    fn try_call(&mut self, method: &str, parameters: Value) -> Result<Value, Value> {
        self.number += 1;
        let mut message = json!({"id": self.number, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.commands.write_all(&bytes).expect("the browser must run");
        let end = Instant::now() + ANSWER;
        loop {
            match self.messages.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(answer) if answer["id"] == self.number => {
                    return match answer.get("error") {
                        Some(error) => Err(error.clone()),
                        None => Ok(answer["result"].clone()),
                    };
                }
                Ok(event) => self.events.push(event),
                Err(RecvTimeoutError::Timeout) => panic!("{method}: no answer in {ANSWER:?}"),
                Err(RecvTimeoutError::Disconnected) => panic!("{method}: the browser ended"),
            }
        }
    }

    /// Opens an address.
    pub fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({"url": url}));
    }

    /// Goes to another page of the one that is open, `#/tasks`.
    pub fn go(&mut self, hash: &str) {
        self.eval(&format!("location.hash = {}", json!(hash)));
    }

    /// What an expression gives; promises are waited for.
    ///
    /// # Panics
    /// When it throws.
    pub fn eval(&mut self, expression: &str) -> Value {
        self.try_eval(expression).unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    /// What an expression gives.
    ///
    /// # Errors
    /// What it threw.
    pub fn try_eval(&mut self, expression: &str) -> Result<Value, Value> {
        let parameters =
            json!({"expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true});
        let answer = self.try_call("Runtime.evaluate", parameters)?;
        match answer.get("exceptionDetails") {
            Some(thrown) => Err(thrown.clone()),
            None => Ok(answer["result"]["value"].clone()),
        }
    }

    /// Waits until an expression is true, and gives what it is.
    ///
    /// # Panics
    /// When it never is; the message shows the page's text.
    pub fn wait(&mut self, what: &str, expression: &str) -> Value {
        let start = Instant::now();
        loop {
            // While a page is replaced by another there is nothing that could be asked.
            if let Ok(value) = self.try_eval(expression)
                && !matches!(value, Value::Null | Value::Bool(false))
                && value != json!("")
                && value != json!(0)
            {
                return value;
            }
            if start.elapsed() > wait::PATIENCE {
                let (text, complaints) = (self.text(), self.complaints());
                panic!("waited in vain: {what}\n{expression}\n---- the page\n{text}\n---- complaints\n{complaints:#?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the page shows a text.
    pub fn wait_text(&mut self, text: &str) {
        self.wait(&format!("the page shows {text:?}"), &format!("document.body.innerText.includes({})", json!(text)));
    }

    /// What the page shows.
    pub fn text(&mut self) -> String {
        let text = self.try_eval("document.body ? document.body.innerText : ''").unwrap_or_default();
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Clicks what a selector finds; with `text`, the first that shows it.
    pub fn click(&mut self, selector: &str, text: &str) {
        let found = format!(
            "[...document.querySelectorAll({})].find((one) => one.textContent.includes({}) && one.getClientRects().length)",
            json!(selector),
            json!(text)
        );
        self.wait(&format!("there is {selector} with {text:?}"), &format!("!!{found}"));
        self.eval(&format!("{found}.click()"));
    }

    /// Presses a key, as on a keyboard.
    pub fn press(&mut self, key: &str) {
        let text = if key.chars().count() == 1 {
            key
        } else if key == "Enter" {
            "\r"
        } else {
            ""
        };
        let code = match key {
            "Enter" => 13,
            "Escape" => 27,
            _ => 0,
        };
        for (kind, text) in [("keyDown", text), ("keyUp", "")] {
            let stroke = json!({"type": kind, "key": key, "text": text, "windowsVirtualKeyCode": code});
            self.call("Input.dispatchKeyEvent", stroke);
        }
    }

    /// Types a text into what has the focus.
    pub fn type_text(&mut self, text: &str) {
        self.call("Input.insertText", json!({"text": text}));
    }

    /// The window's inner size.
    pub fn resize(&mut self, width: u32, height: u32) {
        let parameters = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", parameters);
    }

    /// What the system's user likes: dark or light.
    pub fn prefer(&mut self, scheme: &str) {
        let feature = json!({"name": "prefers-color-scheme", "value": scheme});
        self.call("Emulation.setEmulatedMedia", json!({"features": [feature]}));
    }

    /// Writes what is seen to a PNG file.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn picture(&mut self, path: &PathBuf) {
        let picture = self.call("Page.captureScreenshot", json!({"format": "png"}));
        let bytes = base64::engine::general_purpose::STANDARD.decode(picture["data"].as_str().unwrap_or_default());
        std::fs::write(path, bytes.expect("a picture")).expect("the picture's place must be writable");
    }

    /// What the page complained of so far: exceptions, refusals of its policy, whatever it wrote to the console. Answers of
    /// the master that are no success are the page's to show, and no complaint.
    pub fn complaints(&mut self) -> Vec<String> {
        let _ = self.try_eval("1");
        let complaint = |event: &Value| match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => Some(event["params"]["exceptionDetails"].to_string()),
            Some("Runtime.consoleAPICalled") => Some(event["params"]["args"].to_string()),
            Some("Log.entryAdded") if event["params"]["entry"]["source"] != "network" => {
                Some(event["params"]["entry"].to_string())
            }
            _ => None,
        };
        self.events.iter().filter_map(complaint).collect()
    }

    /// Every address that was asked for so far.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        let sent = self.events.iter().filter(|event| event["method"] == "Network.requestWillBeSent");
        sent.filter_map(|event| event["params"]["request"]["url"].as_str().map(str::to_owned)).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.commands.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(5) {
            if let Ok(Some(_)) = self.child.try_wait() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
