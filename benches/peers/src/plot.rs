//! The plot: a panel for each row with many peers, values on a logarithmic axis, each with its name
//! and number. Peers are distinguished by shape, not by colour.

use std::fmt::Write;

use crate::report::{Results, format_value};
use crate::workload::{ROWS, Row, Unit, Workload};

const PANEL: f64 = 560.0;
const NAMES: f64 = 110.0;
const VALUES: f64 = 80.0;
const LINE: f64 = 20.0;
const HEAD: f64 = 44.0;
const GAP: f64 = 24.0;

/// The rows whose panels are drawn: the rest is latencies, which the table has.
fn drawn(row: &Row) -> bool {
    matches!(row.unit, Unit::Rate | Unit::Milliseconds | Unit::Megabytes)
        || row.metric == "disk_used"
        || row.workload == Workload::Paced && matches!(row.metric, "p50" | "p999")
}

pub fn svg(results: &Results) -> String {
    let mut panels = Vec::new();
    for row in ROWS.iter().filter(|row| drawn(row)) {
        let mut values: Vec<(&str, &str, f64)> = results
            .peers()
            .into_iter()
            .filter_map(|about| {
                let value = results.get(about.name, row.workload, row.metric)?;
                (value > 0.0).then_some((about.name, about.title, value))
            })
            .collect();
        if values.is_empty() {
            continue;
        }
        values.sort_by(|a, b| b.2.total_cmp(&a.2));
        if row.unit != Unit::Rate {
            values.reverse();
        }
        panels.push((row, values));
    }
    let mut body = String::new();
    let mut bottoms = [0.0_f64; 2];
    for (row, values) in &panels {
        let column = usize::from(bottoms[1] < bottoms[0]);
        let x = GAP + column as f64 * (PANEL + GAP);
        let y = bottoms[column] + GAP;
        draw(&mut body, x, y, row, values);
        bottoms[column] = y + HEAD + LINE * values.len() as f64;
    }
    let height = bottoms[0].max(bottoms[1]) + GAP + 20.0;
    let width = 2.0 * PANEL + 3.0 * GAP;
    let legend = height - 12.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{body}\
         <text x=\"{GAP}\" y=\"{legend:.0}\" fill=\"#444\">filled square: annals; hollow square: \
         annals with system calls; hollow diamond: bare loop; hollow circle: peer. Logarithmic axes, best first.</text>\n</svg>\n"
    )
}

fn draw(out: &mut String, x: f64, y: f64, row: &Row, values: &[(&str, &str, f64)]) {
    let better =
        if row.unit == Unit::Rate { "per second, more is better" } else { "less is better" };
    let title = row.title;
    let _ = writeln!(
        out,
        "<text x=\"{x:.0}\" y=\"{:.0}\" font-weight=\"bold\">{title}</text>\
         <text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\" fill=\"#444\">{better}</text>",
        y + 12.0,
        x + PANEL,
        y + 12.0,
    );
    let least = values.iter().map(|value| value.2).fold(f64::MAX, f64::min).log10().floor();
    let most = values.iter().map(|value| value.2).fold(f64::MIN, f64::max).log10().ceil();
    let decades = (most - least).max(1.0);
    let (left, length) = (x + NAMES, PANEL - NAMES - VALUES);
    let at = |value: f64| left + (value.log10() - least) / decades * length;
    let bottom = y + HEAD - 8.0 + LINE * values.len() as f64;
    for decade in 0..=decades as i32 {
        let value = 10_f64.powi(least as i32 + decade);
        let (tick, label) = (at(value), format_value(value, row.unit));
        let label = label.replace(".00", "").replace(".0 ", " ");
        let _ = writeln!(
            out,
            "<line x1=\"{tick:.1}\" y1=\"{:.1}\" x2=\"{tick:.1}\" y2=\"{bottom:.1}\" \
             stroke=\"#bbb\" stroke-dasharray=\"2 3\"/>\
             <text x=\"{tick:.1}\" y=\"{:.1}\" font-size=\"10\" fill=\"#444\" \
             text-anchor=\"middle\">{label}</text>",
            y + 32.0,
            y + 28.0,
        );
    }
    for (line, (name, peer, value)) in values.iter().enumerate() {
        let middle = y + HEAD + LINE * line as f64;
        let (point, text) = (at(*value), middle + 4.0);
        let weight = if *name == "annals" { "bold" } else { "normal" };
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{text:.1}\" text-anchor=\"end\" font-weight=\"{weight}\">{peer}\
             </text><line x1=\"{left:.1}\" y1=\"{middle:.1}\" x2=\"{point:.1}\" y2=\"{middle:.1}\" \
             stroke=\"black\"/>{}<text x=\"{:.1}\" y=\"{text:.1}\" font-weight=\"{weight}\">{}\
             </text>",
            left - 8.0,
            marker(name, point, middle),
            point + 10.0,
            format_value(*value, row.unit),
        );
    }
}

fn marker(name: &str, x: f64, y: f64) -> String {
    if name.starts_with("annals") {
        let (x, y) = (x - 6.0, y - 6.0);
        let fill = if name == "annals" { "black" } else { "white" };
        format!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"12\" height=\"12\" fill=\"{fill}\" \
             stroke=\"black\"/>"
        )
    } else if name.starts_with("raw") && name != "raft-engine" {
        format!(
            "<path d=\"M {:.1} {y:.1} l 7 -7 l 7 7 l -7 7 z\" fill=\"white\" stroke=\"black\"/>",
            x - 7.0
        )
    } else {
        format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\" fill=\"white\" stroke=\"black\"/>")
    }
}
