//! The master changes under an open page.

use std::time::Duration;

use mezzo_tests::browser::Browser;
use mezzo_tests::environment;
use mezzo_tests::masters::Masters;

const LIVE: &str = "document.querySelector('#link')?.textContent === 'live'";

#[test]
fn an_open_page_goes_on_at_the_next_leader() {
    let Some(program) = environment::browser() else {
        return environment::skip("there is no Chromium: run `cargo xtask setup`");
    };
    let mut group = Masters::builder().masters(3).start();
    let leader = group.wait_for_leader(&[0, 1, 2]);
    let standbys: Vec<usize> = (0..3).filter(|master| *master != leader).collect();
    group.wait_for_standby(standbys[0], leader);
    let mut browser = Browser::start(&program, &group.dir());

    // A standby's page is the leader's.
    browser.open(&format!("http://{}/#/agents", group.masters[standbys[0]].address));
    at(&mut browser, &group, leader);
    browser.wait(
        "the others are known",
        "fetch('/ui/masters').then((answer) => answer.json()).then(({ masters }) => masters.length === 3)",
    );
    browser.go("#/");
    browser.wait("they are shown", "document.querySelectorAll('.masters li').length === 3");
    browser.go("#/agents");

    // A planned stop.
    let _ = group.masters[leader].part.end(Duration::from_secs(20));
    let next = group.wait_for_leader(&standbys);
    at(&mut browser, &group, next);

    // One that is killed has nobody told; the page finds the one that is left.
    let last = if standbys[0] == next { standbys[1] } else { standbys[0] };
    group.wait_for_standby(last, next);
    group.masters[next].part.kill();
    assert_eq!(group.wait_for_leader(&[last]), last);
    at(&mut browser, &group, last);
}

/// The page is live at this master, where it was.
fn at(browser: &mut Browser, group: &Masters, master: usize) {
    let address = group.masters[master].address;
    browser.wait(&format!("the page is at {address}"), &format!("location.host === '{address}' && {LIVE}"));
    assert_eq!(browser.eval("location.hash"), "#/agents");
    let active =
        "[...document.querySelectorAll('.rows .row')].filter((row) => row.innerText.includes('active')).length === 2";
    browser.wait("both agents are shown", active);
}
