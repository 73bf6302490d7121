//! Tables for people, JSON for scripts.

use comfy_table::{CellAlignment, Table, presets::NOTHING};
use serde_json::Value;

/// A table with a heading, its columns as wide as their contents.
pub(super) fn table(heading: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_header(heading.iter().copied());
    table
}

/// Prints a table; columns of these numbers are numbers.
pub(super) fn print(mut table: Table, numbers: &[usize]) {
    for number in numbers {
        if let Some(column) = table.column_mut(*number) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    println!("{}", table.trim_fmt());
}

/// Prints JSON, for scripts.
pub(super) fn json(value: &Value) {
    println!("{value:#}");
}

/// Fields, one a line.
pub(super) fn fields(fields: &[(&str, String)]) {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
        println!("{name:<width$}  {value}");
    }
}

/// A member as text; empty if it is not there.
pub(super) fn text(value: &Value, name: &str) -> String {
    match value.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// A number that people read: `1.5`, `12`.
pub(super) fn number(value: f64) -> String {
    let rounded = (value * 1000.0).round() / 1000.0;
    format!("{rounded}")
}

/// `used/total` of a resource.
pub(super) fn share(used: &Value, total: &Value, name: &str) -> String {
    let of = |value: &Value| value.get(name).and_then(Value::as_f64).unwrap_or_default();
    format!("{}/{}", number(of(used)), number(of(total)))
}

/// Seconds since the epoch as a time of day in UTC: `2026-11-24 19:03:20`.
pub(super) fn moment(seconds: f64) -> String {
    if seconds <= 0.0 {
        return String::new();
    }
    #[allow(clippy::cast_possible_truncation)] // times of this century fit
    let seconds = seconds as i64;
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

/// The date of a day since the epoch (Howard Hinnant's algorithm of civil dates).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day_of_year - (153 * shifted_month + 2) / 5 + 1)
}

/// The array of this name.
pub(super) fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The one entry whose `id` is `wanted`, or ends or begins with it.
pub(super) fn one<'a>(
    what: &'static str,
    entries: impl IntoIterator<Item = &'a Value>,
    wanted: &str,
) -> Result<&'a Value, super::Failure> {
    let entries: Vec<&Value> = entries.into_iter().collect();
    let id = |entry: &Value| text(entry, "id");
    let mut fitting: Vec<&Value> = entries.iter().copied().filter(|entry| id(entry) == wanted).collect();
    if fitting.is_empty() && !wanted.is_empty() {
        let fits = |entry: &&Value| id(entry).ends_with(wanted) || id(entry).starts_with(wanted);
        fitting = entries.iter().copied().filter(fits).collect();
    }
    match fitting.as_slice() {
        [one] => Ok(one),
        [] => Err(super::Failure::Unknown { what, id: wanted.to_owned(), hint: String::new() }),
        several => Err(super::Failure::Ambiguous { what, id: wanted.to_owned(), fitting: several.len() }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn moments_are_dates() {
        assert_eq!(moment(0.0), "");
        assert_eq!(moment(1.0), "1970-01-01 00:00:01");
        assert_eq!(moment(951_782_400.0), "2000-02-29 00:00:00");
        assert_eq!(moment(1_795_547_000.5), "2026-11-24 19:03:20");
    }

    #[test]
    fn an_id_may_be_cut_where_it_is_clear() {
        let entries = [json!({"id": "u-S1"}), json!({"id": "u-S11"}), json!({"id": "v-S2"})];
        assert_eq!(one("agent", &entries, "u-S1").unwrap()["id"], "u-S1");
        assert_eq!(one("agent", &entries, "S2").unwrap()["id"], "v-S2");
        assert!(one("agent", &entries, "u-").unwrap_err().to_string().contains("2 fit"));
        assert!(one("agent", &entries, "nope").is_err() && one("agent", &entries, "").is_err());
    }
}
