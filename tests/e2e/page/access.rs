//! The page for people who use no mouse, or do not see, or hold it in their hand.

use mezzo_tests::browser::Browser;
use mezzo_tests::cluster::Cluster;
use mezzo_tests::environment;
use serde_json::Value;

use super::{agent_of, looked_at, with_tasks};

#[test]
fn axe_finds_nothing_serious() {
    let Some(axe) = environment::axe() else {
        return environment::skip("there is no axe: run `cargo xtask setup`");
    };
    let Some((cluster, mut browser)) = looked_at(Cluster::builder().agents(2)) else { return };
    let mut framework = with_tasks(&cluster);
    let agent = agent_of(&mut framework, "task-that-runs");
    let files = format!("/frameworks/{}/executors/task-that-runs/runs/latest", framework.id);
    browser.eval(&axe);
    let mut pages =
        ["", "tasks", "agents", "frameworks", "roles?role=dev", "offers", "topology", "maintenance", "explain"]
            .map(|page| format!("#/{page}"))
            .to_vec();
    pages.push(format!("#/tasks/{}/task-that-fails", framework.id));
    pages.push(format!("#/tasks/{}/task-that-runs", framework.id));
    pages.push(format!("#/agents/{agent}"));
    pages.push(format!("#/frameworks/{}", framework.id));
    pages.push(format!("#/agents/{agent}/files?path={files}"));
    pages.push(format!("#/agents/{agent}/file?path={files}/stdout"));
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        for page in &pages {
            browser.go(page);
            browser.wait(
                "the page is drawn",
                "!document.querySelector('.waiting') && document.querySelector('main').innerText.length > 10",
            );
            assert_eq!(serious(&mut browser), [""; 0], "{page}, {scheme}");
        }
    }
}

/// What axe holds to be serious or worse by WCAG 2.2 AA.
fn serious(browser: &mut Browser) -> Vec<String> {
    let tags = "['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']";
    let found =
        browser.eval(&format!("axe.run(document, {{ runOnly: {tags} }}).then(({{ violations }}) => violations)"));
    let grave = |violation: &&Value| violation["impact"] == "serious" || violation["impact"] == "critical";
    let told = |violation: &Value| {
        let places = violation["nodes"].as_array().into_iter().flatten().take(3);
        let places: Vec<String> =
            places.map(|node| format!("{} {}", node["html"], node["any"][0]["message"])).collect();
        format!("{}: {}", violation["id"], places.join(" | "))
    };
    found.as_array().into_iter().flatten().filter(grave).map(told).collect()
}

#[test]
fn a_phone_shows_every_page_without_scrolling_sideways() {
    let Some((cluster, mut browser)) = looked_at(Cluster::builder()) else { return };
    let framework = with_tasks(&cluster);
    browser.resize(360, 740);
    for page in
        ["#/", "#/tasks", "#/agents", "#/frameworks", "#/roles", "#/offers", "#/topology", "#/maintenance", "#/explain"]
            .map(str::to_owned)
            .into_iter()
            .chain([format!("#/tasks/{}/task-that-runs", framework.id), format!("#/frameworks/{}", framework.id)])
    {
        browser.go(&page);
        browser.wait("the page is drawn", "!document.querySelector('.waiting')");
        let over = browser.eval("document.documentElement.scrollWidth - innerWidth");
        assert!(over.as_i64().unwrap_or(1) <= 0, "{page} is {over} pixels too wide");
    }
}
