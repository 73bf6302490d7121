//! `mezzo-bench plot FIGURES SVG`: how a full allocation cycle grows with the cluster, from the lines of
//! `mezzo-bench allocator --json`. Both axes are logarithmic: what grows in proportion is a line of slope one.

use std::{fmt::Write, fs, path::Path};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
/// Of the plot within the picture: left, right, top, bottom.
const FRAME: [f64; 4] = [70.0, 560.0, 24.0, 370.0];
const AGENTS: [f64; 2] = [800.0, 64_000.0];
const MILLISECONDS: [f64; 2] = [0.5, 10_000.0];
const TICKS: [f64; 6] = [1_000.0, 2_000.0, 5_000.0, 10_000.0, 20_000.0, 50_000.0];

struct Series {
    name: &'static str,
    colour: &'static str,
    /// Where the name stands, below the last point (above: negative).
    below: f64,
    points: Vec<[f64; 2]>,
}

/// Reads the figures and writes the picture.
pub(crate) fn plot(words: &[String]) -> Result<()> {
    let [figures, picture] = words else { anyhow::bail!("usage: mezzo-bench plot FIGURES SVG") };
    let text = fs::read_to_string(figures).with_context(|| format!("{figures} cannot be read"))?;
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let cycles: Vec<Value> = lines.filter(|line| line["case"] == "cycle").collect();
    ensure!(
        !cycles.is_empty(),
        "{figures} has no line with the case 'cycle': it is what `mezzo-bench allocator --json` prints"
    );
    let number = |line: &Value, name: &str| line[name].as_f64().filter(|value| *value > 0.0);
    let of = |wanted: &dyn Fn(f64, f64) -> bool, value: &str| -> Vec<[f64; 2]> {
        let chosen = cycles.iter().filter(|line| {
            number(line, "agents")
                .zip(number(line, "frameworks"))
                .is_some_and(|(agents, frameworks)| wanted(agents, frameworks))
        });
        chosen.filter_map(|line| Some([number(line, "agents")?, number(line, value)?])).collect()
    };
    let tenth = |agents: f64, frameworks: f64| frameworks * 10.0 == agents;
    let series = [
        Series { name: "Apache Mesos 1.8, as published", colour: "#b4502d", below: -6.0, points: of(&tenth, "mesos") },
        Series {
            name: "Mezzo, a framework for ten agents",
            colour: "#1f6f8b",
            below: 24.0,
            points: of(&tenth, "value"),
        },
        Series {
            name: "Mezzo, 1,000 frameworks",
            colour: "#4c9a5b",
            below: -6.0,
            points: of(&|_, frameworks| frameworks == 1_000.0, "value"),
        },
    ];
    fs::write(Path::new(picture), svg(&series)).with_context(|| format!("{picture} cannot be written"))
}

fn place(value: f64, [low, high]: [f64; 2], from: f64, to: f64) -> f64 {
    from + (value / low).ln() / (high / low).ln() * (to - from)
}

fn point([agents, milliseconds]: [f64; 2]) -> (f64, f64) {
    let [left, right, top, bottom] = FRAME;
    (place(agents, AGENTS, left, right), place(milliseconds, MILLISECONDS, bottom, top))
}

fn svg(series: &[Series]) -> String {
    let [left, right, top, bottom] = FRAME;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\" role=\"img\">\n<title>A full allocation cycle, by the number of agents</title>\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n"
    );
    let mut line = |[x1, y1, x2, y2]: [f64; 4], style: &str| {
        let _ = writeln!(out, "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" {style}/>");
    };
    for agents in TICKS {
        let (x, _) = point([agents, 1.0]);
        line([x, top, x, bottom], "stroke=\"#dddddd\"");
    }
    for milliseconds in [1.0, 10.0, 100.0, 1_000.0, 10_000.0] {
        let (_, y) = point([1_000.0, milliseconds]);
        line([left, y, right, y], "stroke=\"#dddddd\"");
    }
    // Growth in proportion, for the eye.
    let (from, to) = (point([1_000.0, 1.5]), point([50_000.0, 75.0]));
    line([from.0, from.1, to.0, to.1], "stroke=\"#888888\" stroke-dasharray=\"4 4\"");
    let mut text = |x: f64, y: f64, anchor: &str, colour: &str, said: &str| {
        let _ =
            writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{said}</text>");
    };
    for agents in TICKS {
        text(point([agents, 1.0]).0, bottom + 18.0, "middle", "#333333", &format!("{agents}"));
    }
    for milliseconds in [1.0, 10.0, 100.0, 1_000.0, 10_000.0] {
        text(left - 8.0, point([1_000.0, milliseconds]).1 + 4.0, "end", "#333333", &format!("{milliseconds} ms"));
    }
    text((left + right) / 2.0, bottom + 40.0, "middle", "#333333", "agents");
    text(to.0 + 6.0, to.1 + 16.0, "start", "#666666", "in proportion");
    for one in series {
        if let Some(last) = one.points.last() {
            let (x, y) = point(*last);
            text((x + 8.0).min(right + 4.0), y + one.below, "start", one.colour, one.name);
        }
    }
    for one in series {
        let points: Vec<String> =
            one.points.iter().map(|at| point(*at)).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let (colour, points_text) = (one.colour, points.join(" "));
        let _ =
            writeln!(out, "<polyline points=\"{points_text}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>");
        for at in &one.points {
            let (x, y) = point(*at);
            let _ = writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>");
        }
    }
    out.push_str("</svg>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_every_point_and_what_is_no_figure_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let [figures, picture] = ["figures", "picture.svg"].map(|name| dir.path().join(name).display().to_string());
        fs::write(&figures, "real 1m\n{\"case\":\"freed\",\"value\":1}\n").unwrap();
        assert!(plot(&[figures.clone(), picture.clone()]).is_err());
        let lines = [(1_000, 100, 1.5, 50.0), (10_000, 1_000, 16.0, 1_100.0)].map(|(agents, frameworks, value, mesos)| {
            serde_json::json!({"case": "cycle", "agents": agents, "frameworks": frameworks, "value": value, "mesos": mesos}).to_string()
        });
        fs::write(&figures, lines.join("\n")).unwrap();
        plot(&[figures, picture.clone()]).unwrap();
        let drawn = fs::read_to_string(picture).unwrap();
        assert_eq!(drawn.matches("<circle").count(), 5, "{drawn}");
    }
}
