//! Whatever tasks, agents and frameworks call themselves is text.

use mezzo_tests::cluster::Cluster;
use mezzo_tests::framework::Framework;
use mezzo_tests::http::{self, Request};
use mezzo_tests::tasks;
use serde_json::json;

use super::looked_at;

const EVIL: &str = "<img src=x onerror=\"window.caught=1\"><script>window.caught=1</script>\u{202e}'\"&amp;";

#[test]
fn nothing_from_the_cluster_is_parsed_as_html() {
    let builder = Cluster::builder().agent_flag("--attributes=zone:<b onclick=alert(1)>zone</b>");
    let Some((cluster, mut browser)) = looked_at(builder) else { return };
    let mut info = tasks::framework_info(EVIL, "dev");
    info["user"] = json!("root");
    info["webui_url"] = json!("javascript:window.caught=1");
    info["labels"] = json!({"labels": [{"key": EVIL, "value": EVIL}]});
    let mut framework = Framework::subscribe(cluster.master_address, info);
    let offer = framework.wait_any_offer();
    let more = json!({
        "name": EVIL,
        "labels": {"labels": [{"key": EVIL, "value": EVIL}]},
        "discovery": {"visibility": "CLUSTER", "name": EVIL},
    });
    let shell = format!("printf '%s' '{}' | tee /dev/stderr; exec sleep 1000", EVIL.replace('\'', "'\\''"));
    let mut task = tasks::command("evil", tasks::agent_of(&offer), &shell);
    for (name, value) in more.as_object().into_iter().flatten() {
        task[name] = value.clone();
    }
    framework.launch(&offer, &[task]);
    framework.wait_status("evil", "TASK_RUNNING");
    let agent = cluster.agent_ids().remove(0);
    let files = format!("/frameworks/{}/executors/evil/runs/latest", framework.id);
    for page in [
        "#/".to_owned(),
        "#/tasks".to_owned(),
        format!("#/tasks/{}/evil", framework.id),
        "#/frameworks".to_owned(),
        format!("#/frameworks/{}", framework.id),
        "#/topology".to_owned(),
        format!("#/agents/{agent}"),
        format!("#/agents/{agent}/file?path={files}/stdout"),
        "#/no/<img src=x onerror=window.caught=1>".to_owned(),
        "#/tasks?q=<img src=x onerror=window.caught=1>&framework=<b>".to_owned(),
    ] {
        browser.go(&page);
        browser.wait(
            "the page is drawn",
            "!document.querySelector('.waiting') && document.querySelector('main').innerText.length > 10",
        );
        let strange = "document.querySelectorAll('main img, main script, main b[onclick], [onerror], a[href^=\"javascript\"]').length";
        assert_eq!(browser.eval(strange), 0, "{page}");
        assert_eq!(browser.eval("window.caught ?? null"), json!(null), "{page}");
    }
    browser.go(&format!("#/tasks/{}/evil", framework.id));
    browser.wait_text("<script>window.caught=1</script>");
    // What a task wrote is no page of the master's, even when it is opened as one.
    let read = http::send(
        cluster.master_address,
        &Request::get(&format!("/agent/{agent}/files/download?path={files}/stdout")),
    )
    .unwrap();
    assert_eq!(read.head.header("Content-Security-Policy"), Some("sandbox"));
    assert_eq!(read.head.header("X-Content-Type-Options"), Some("nosniff"));
}

#[test]
fn the_page_may_do_little() {
    let Some((cluster, mut browser)) = looked_at(Cluster::builder().agents(0)) else { return };
    for path in ["/", "/assets/app.js", "/assets/style.css", "/assets/vendor/preact-htm.js"] {
        let answer = cluster.get(path).unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let policy = answer.head.header("Content-Security-Policy").unwrap_or_default();
        let page = ["script-src 'self'", "style-src 'self'", "base-uri 'none'", "connect-src 'self';"];
        let parts = ["default-src 'none'", "frame-ancestors 'none'"].into_iter();
        for part in parts.chain(page.into_iter().filter(|_| path == "/")) {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(answer.head.header("X-Content-Type-Options"), Some("nosniff"));
    }
    // The browser holds the page to it: no text becomes HTML, and no script comes from elsewhere.
    let parsing = browser.try_eval("document.body.innerHTML = '<b>parsed</b>'");
    assert!(parsing.unwrap_err().to_string().contains("TrustedHTML"));
    let elsewhere = browser.eval("fetch('http://127.0.0.1:1/').then(() => 'answered', (error) => error.name)");
    assert_eq!(elsewhere, "TypeError");
    assert!(browser.complaints().iter().any(|complaint| complaint.contains("Content Security Policy")));
}
