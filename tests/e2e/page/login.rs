//! A master that asks who looks.

use mezzo_tests::{browser::Browser, environment, framework::Framework, tasks};

use crate::authentication::guarded;

const FORM: &str = "document.querySelector('.login form')";

fn log_in(browser: &mut Browser, secret: &str) {
    browser.wait("the form has the keys", "document.activeElement?.form !== undefined");
    browser.wait("the form is there", &format!("{FORM}?.querySelector('button').disabled === false"));
    browser.eval(&format!("{FORM}.elements.principal.value = 'ops'; {FORM}.elements.secret.focus()"));
    browser.type_text(secret);
    browser.press("Enter");
}

#[test]
fn who_looks_logs_in_and_out() {
    let Some(program) = environment::browser() else {
        return environment::skip("there is no Chromium: run `cargo xtask setup`");
    };
    let cluster = guarded().start();
    let mut framework = Framework::subscribe(cluster.master_address, tasks::framework_info("a-framework", "dev"));
    framework.run("a-task", "echo for known eyes only; exec sleep 1000");
    framework.wait_status("a-task", "TASK_RUNNING");
    let mut browser = Browser::start(&program, cluster.dir());
    browser.open(&format!("http://{}/#/tasks/{}/a-task", cluster.master_address, framework.id));
    log_in(&mut browser, "guessed");
    browser.wait_text("There is no such principal");
    assert!(!browser.text().contains("does not answer"), "it answers, and asks");
    assert!(!browser.text().contains("for known eyes"));
    log_in(&mut browser, "open sesame");
    browser.wait("the page is live", "document.querySelector('#link')?.textContent === 'live'");
    // The agent asks too, and knows the session.
    browser.wait_text("for known eyes only");
    browser.click(".title a", "Terminal");
    browser.wait("a shell is there", "document.querySelector('.terminal .xterm-rows')?.childElementCount > 10");
    browser.wait("no cookie is seen by scripts", "document.cookie === ''");
    browser.click("header button", "log out");
    browser.wait("the form is back", &format!("{FORM} !== null"));
    assert!(!browser.text().contains("for known eyes"));
}
