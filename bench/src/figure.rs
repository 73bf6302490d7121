//! Figures: one JSON object a line, the form of every figure of this project.

use serde_json::{Map, Value, json};

/// One figure with the parameters under which it was taken.
pub(crate) struct Figure {
    bench: &'static str,
    case: String,
    value: f64,
    unit: &'static str,
    parameters: Map<String, Value>,
}

impl Figure {
    pub(crate) fn new(bench: &'static str, case: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { bench, case: case.into(), value, unit, parameters: Map::new() }
    }

    /// Adds a parameter.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.parameters.insert(name.into(), value.into());
        self
    }

    /// Prints it: as JSON, or for people.
    pub(crate) fn print(self, as_json: bool) {
        // Three significant decimals are more than the machine's noise deserves.
        let value = (self.value * 1000.0).round() / 1000.0;
        if as_json {
            let mut line = Map::new();
            line.insert("bench".into(), json!(self.bench));
            line.insert("case".into(), json!(self.case));
            line.insert("value".into(), json!(value));
            line.insert("unit".into(), json!(self.unit));
            line.extend(self.parameters);
            println!("{}", Value::Object(line));
        } else {
            let parameters: Vec<String> =
                self.parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
            println!("{:<12} {:<28} {value:>12} {:<9} {}", self.bench, self.case, self.unit, parameters.join(" "));
        }
    }
}

/// The value below which `share` (0…1) of `sorted` lies; `sorted` is ascending and not empty.
pub(crate) fn percentile(sorted: &[f64], share: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index into the slice")]
    let index = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len()) - 1;
    sorted[index]
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn percentiles_are_values_of_the_sample() {
        let sample: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(
            [percentile(&sample, 0.5), percentile(&sample, 0.99), percentile(&sample, 1.0)],
            [50.0, 99.0, 100.0]
        );
        assert_eq!(percentile(&[7.0], 0.99), 7.0);
    }
}
