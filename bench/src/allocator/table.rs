//! Figures as lines of JSON, or as a table with Mesos' own beside them.

use crate::figure::Figure;

/// What is printed where.
pub(super) struct Table {
    json: bool,
}

/// One row.
pub(super) struct Row<'a> {
    pub(super) case: &'a str,
    pub(super) value: f64,
    pub(super) unit: &'static str,
    pub(super) parameters: &'a [(&'a str, f64)],
    /// What Mesos published for the same, in the same unit, and where.
    pub(super) mesos: Option<(f64, &'a str)>,
}

impl Table {
    pub(super) fn new(json: bool) -> Self {
        if !json {
            println!("{:<26} {:>12} {:<8} {:>10} {:>8}  parameters", "case", "Mezzo", "unit", "Mesos", "times");
        }
        Self { json }
    }

    pub(super) fn row(&mut self, row: &Row<'_>) {
        if self.json {
            let mut figure = Figure::new("allocator", row.case, row.value, row.unit);
            for (name, value) in row.parameters {
                figure = figure.with(name, *value);
            }
            if let Some((mesos, source)) = row.mesos {
                figure = figure.with("mesos", mesos).with("mesos_source", source);
            }
            figure.print(true);
            return;
        }
        let parameters: Vec<String> = row.parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let (mesos, times) = match row.mesos {
            Some((mesos, _)) => (format!("{mesos}"), format!("{:.1}", mesos / row.value)),
            None => Default::default(),
        };
        let (case, value, unit) = (row.case, row.value, row.unit);
        println!("{case:<26} {value:>12.3} {unit:<8} {mesos:>10} {times:>8}  {}", parameters.join(" "));
    }

    pub(super) fn end(&self) {
        if !self.json {
            println!("Mesos: what its project published, on other machines (docs/performance.md names the sources)");
        }
    }
}
