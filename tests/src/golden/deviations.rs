//! Where Mezzo answers otherwise than Mesos on purpose: a table that the tests hold to the letter, both ways.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::environment;

/// One deviation.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deviation {
    /// Which golden test it is part of.
    pub test: String,
    /// Which case of it.
    pub case: String,
    /// Every difference, as the comparer says it.
    pub differences: Vec<String>,
    /// Why Mezzo answers so.
    pub why: String,
}

/// A case that is not replayed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skipped {
    /// Which golden test it is part of.
    pub test: String,
    /// Which case of it.
    pub case: String,
    /// Why it is not.
    pub why: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(default)]
    deviation: Vec<Deviation>,
    #[serde(default)]
    skipped: Vec<Skipped>,
}

/// What a golden test found, case by case.
#[derive(Debug)]
pub struct Findings {
    test: String,
    found: BTreeMap<String, Vec<String>>,
    cases: BTreeSet<String>,
    table: Table,
    skipped: BTreeSet<String>,
    /// Whether the table may name cases that this test does not have.
    partial: bool,
}

impl Findings {
    /// Of the test of this name, to be held against `tests/golden/deviations.toml`.
    ///
    /// # Panics
    /// When the table cannot be read.
    #[must_use]
    pub fn of(test: &str) -> Self {
        let path = environment::data("golden").join("deviations.toml");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self::against(test, parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }

    /// Of a test that has only some of the cases of the one of this name.
    #[must_use]
    pub fn of_some_of(test: &str) -> Self {
        Self { partial: true, ..Self::of(test) }
    }

    fn against(test: &str, table: Table) -> Self {
        Self {
            test: test.to_owned(),
            found: BTreeMap::new(),
            cases: BTreeSet::new(),
            table,
            skipped: BTreeSet::new(),
            partial: false,
        }
    }

    /// Whether the table says that this case is not replayed.
    pub fn skips(&mut self, case: &str) -> bool {
        let skips = self.table.skipped.iter().any(|skipped| skipped.test == self.test && skipped.case == case);
        if skips {
            self.skipped.insert(case.to_owned());
        }
        skips
    }

    /// Adds what was found in a case; nothing where all is as it should be.
    pub fn add(&mut self, case: &str, differences: Vec<String>) {
        self.cases.insert(case.to_owned());
        if !differences.is_empty() {
            self.found.entry(case.to_owned()).or_default().extend(differences);
        }
    }

    /// How many cases were compared.
    #[must_use]
    pub fn cases(&self) -> usize {
        self.cases.len()
    }

    /// Holds what was found against the table.
    ///
    /// # Panics
    /// When anything was found that is not in the table, or the table says what was not found.
    pub fn check(&self) {
        let problems = self.problems();
        assert!(
            problems.is_empty(),
            "{} of {} cases of {}:\n\n{}",
            problems.len(),
            self.cases.len(),
            self.test,
            problems.join("\n")
        );
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let deviations = self.table.deviation.iter().filter(|deviation| deviation.test == self.test);
        let known: BTreeMap<&str, &Deviation> =
            deviations.map(|deviation| (deviation.case.as_str(), deviation)).collect();
        for (case, differences) in &self.found {
            match known.get(case.as_str()) {
                Some(deviation) if deviation.differences == *differences => {}
                Some(deviation) => problems.push(format!(
                    "# the table says {:?}, but:\n{}",
                    deviation.differences,
                    self.entry(case, differences)
                )),
                None => problems.push(self.entry(case, differences)),
            }
        }
        let is_missing = |case: &str| !self.found.contains_key(case) && (self.cases.contains(case) || !self.partial);
        for case in known.keys().filter(|case| is_missing(case)) {
            let what = if self.cases.contains(*case) { "it is as in Mesos now" } else { "there is no such case" };
            problems.push(format!("# the table has a deviation in {case:?}, but {what}"));
        }
        let skipped = self.table.skipped.iter().filter(|skipped| skipped.test == self.test && !self.partial);
        for skipped in skipped.filter(|skipped| !self.skipped.contains(&skipped.case)) {
            problems.push(format!("# the table skips {:?}, but there is no such case", skipped.case));
        }
        problems
    }

    /// What was found as it would stand in the table.
    fn entry(&self, case: &str, differences: &[String]) -> String {
        let quoted = |text: &str| serde_json::Value::String(text.to_owned()).to_string();
        let lines: String = differences.iter().map(|difference| format!("    {},\n", quoted(difference))).collect();
        format!(
            "[[deviation]]\ntest = {}\ncase = {}\ndifferences = [\n{lines}]\nwhy = \"\"\n",
            quoted(&self.test),
            quoted(case)
        )
    }
}

fn parse(text: &str) -> Result<Table, String> {
    let table: Table = toml::from_str(text).map_err(|error| error.to_string())?;
    let deviations = table.deviation.iter().map(|deviation| (&deviation.test, &deviation.case, &deviation.why));
    let mut entries =
        deviations.chain(table.skipped.iter().map(|skipped| (&skipped.test, &skipped.case, &skipped.why)));
    match entries.find(|(_, _, why)| why.trim().is_empty()) {
        Some((test, case, _)) => Err(format!("{case:?} of {test} does not say why")),
        None => Ok(table),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "[[deviation]]\ntest = \"t\"\ncase = \"a\"\ndifferences = [\"x: y\"]\nwhy = \"because\"\n";

    fn problems(found: &[(&str, &[&str])]) -> Vec<String> {
        let mut findings = Findings::against("t", parse(TABLE).unwrap());
        for (case, differences) in found {
            findings.add(case, differences.iter().map(|text| (*text).to_owned()).collect());
        }
        findings.problems()
    }

    #[test]
    fn what_the_table_says_is_allowed() {
        assert!(problems(&[("a", &["x: y"]), ("b", &[])]).is_empty());
    }

    #[test]
    fn what_it_does_not_say_is_not() {
        assert_eq!(problems(&[("a", &["x: y"]), ("b", &["z: 1"])]).len(), 1);
        assert_eq!(problems(&[("a", &["x: z"])]).len(), 1);
        assert_eq!(problems(&[("a", &["x: y", "z: 1"])]).len(), 1);
    }

    #[test]
    fn what_it_says_in_vain_is_not_allowed_either() {
        assert_eq!(problems(&[("a", &[])]).len(), 1);
        assert_eq!(problems(&[("b", &[])]).len(), 1);
    }

    #[test]
    fn every_deviation_has_a_reason() {
        assert!(parse(&TABLE.replace("because", " ")).is_err());
    }

    #[test]
    fn an_entry_can_be_put_into_the_table() {
        let mut findings = Findings::against("t", Table::default());
        findings.add("a \"quoted\"", vec!["x\n\u{1}: y".to_owned()]);
        let entry =
            findings.entry("a \"quoted\"", &["x\n\u{1}: y".to_owned()]).replace("why = \"\"", "why = \"because\"");
        findings.table = parse(&entry).unwrap();
        assert!(findings.problems().is_empty());
    }

    #[test]
    fn a_test_of_some_cases_answers_for_those_only() {
        let mut findings = Findings { partial: true, ..Findings::against("t", parse(TABLE).unwrap()) };
        findings.add("b", Vec::new());
        assert!(findings.problems().is_empty());
        findings.add("a", Vec::new());
        assert_eq!(findings.problems().len(), 1);
    }

    #[test]
    fn a_case_is_skipped_only_where_the_table_says_so_and_never_in_vain() {
        let skipped = "[[skipped]]\ntest = \"t\"\ncase = \"a\"\nwhy = \"because\"\n";
        let mut findings = Findings::against("t", parse(skipped).unwrap());
        assert_eq!(findings.problems().len(), 1);
        assert!(findings.skips("a") && !findings.skips("b"));
        assert!(findings.problems().is_empty());
    }
}
