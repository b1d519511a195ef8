//! Throughput and latency of a run as drawings that need no script.

use std::fmt::Write as _;

use crate::calls::Call;
use crate::history::Kind;
use crate::html::{FITS, Fault, KEY_OUTCOMES, escaped};

/// Plots have so many columns at most, of a second at least.
const COLUMNS: u64 = 240;

/// One column of the plots.
#[derive(Clone, Default)]
struct Column {
    outcomes: [usize; 3],
    latencies_ms: Vec<f64>,
}

/// Throughput and latency, one above the other.
pub fn draw(page: &mut String, all: &[Call<'_>], faults: &[Fault<'_>], end_ns: u64) {
    const WIDTH: f64 = 1100.0;
    const LEFT: f64 = 62.0;
    let wide_ns = end_ns.div_ceil(COLUMNS).max(1_000_000_000);
    let count = usize::try_from(end_ns / wide_ns + 1).expect("there are few columns");
    let mut columns = vec![Column::default(); count];
    for call in all {
        let Some(end) = call.end else { continue };
        let column = &mut columns[usize::try_from(end.time_ns / wide_ns).expect("there are few columns")];
        match end.kind {
            Kind::Ok => {
                column.outcomes[0] += 1;
                column.latencies_ms.push(end.time_ns.saturating_sub(call.invoke.time_ns) as f64 / 1e6);
            }
            Kind::Fail => column.outcomes[1] += 1,
            Kind::Info | Kind::Invoke => column.outcomes[2] += 1,
        }
    }
    columns.iter_mut().for_each(|column| column.latencies_ms.sort_by(f64::total_cmp));
    let x = |ms: u64| LEFT + ms as f64 * 1e6 / (wide_ns as f64 * count as f64) * (WIDTH - LEFT);
    let wide = (WIDTH - LEFT) / count as f64;
    let bands = |tall: f64| {
        let mut text = String::new();
        for fault in faults {
            let (from, to, back) = (x(fault.began), x(fault.ended), x(fault.mended));
            let (hurt, mend) = ((to - from).max(1.5), (back - to).max(0.0));
            write!(
                text,
                "<rect class=\"band\" x=\"{from:.1}\" y=\"0\" width=\"{hurt:.1}\" height=\"{tall}\"><title>{} on {}</title></rect>\
                 <rect class=\"mend\" x=\"{to:.1}\" y=\"0\" width=\"{mend:.1}\" height=\"{tall}\"/>",
                escaped(fault.name),
                escaped(fault.node)
            )
            .expect(FITS);
        }
        text
    };
    let seconds = wide_ns as f64 / 1e9;
    let most = columns.iter().map(|column| column.outcomes.iter().sum::<usize>()).max().unwrap_or(0).max(1);
    let tall = 120.0;
    write!(
        page,
        "<h2>Throughput</h2>\n<div class=\"plot\"><svg viewBox=\"0 0 {WIDTH} 140\" role=\"img\" aria-label=\"answers per second\">{}",
        bands(tall)
    )
    .expect(FITS);
    for part in [0.0, 0.5, 1.0] {
        let y = tall * (1.0 - part * 0.95);
        write!(
            page,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{:.1}/s</text>",
            LEFT - 6.0,
            y + 4.0,
            most as f64 * part / seconds
        )
        .expect(FITS);
    }
    for (at, column) in columns.iter().enumerate() {
        let mut y = tall;
        for (class, outcome) in [("ok", 0), ("info", 2), ("fail", 1)] {
            let high = column.outcomes[outcome] as f64 / most as f64 * tall * 0.95;
            if 0.0 < high {
                y -= high;
                let x = LEFT + at as f64 * wide;
                let wide = (wide - 0.6).max(0.6);
                write!(
                    page,
                    "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{wide:.1}\" height=\"{high:.1}\"/>"
                )
                .expect(FITS);
            }
        }
    }
    let axis = |tall: f64| {
        let mut text = String::new();
        for part in 0..=8_u64 {
            let ms = end_ns / 1_000_000 * part / 8;
            let anchor = if part == 8 { "end" } else { "middle" };
            let (x, y) = (x(ms).min(WIDTH), tall + 16.0);
            write!(text, "<text x=\"{x:.0}\" y=\"{y}\" text-anchor=\"{anchor}\">{} s</text>", ms / 1000).expect(FITS);
        }
        text
    };
    writeln!(page, "{}</svg><div class=\"key\">{KEY_OUTCOMES}</div></div>", axis(tall)).expect(FITS);

    let slowest =
        columns.iter().filter_map(|column| column.latencies_ms.last()).fold(10.0, |most: f64, ms| ms.max(most));
    let powers = slowest.log10().ceil().max(1.0);
    let tall = 150.0;
    let y = |ms: f64| 4.0 + (tall - 4.0) * (1.0 - ms.max(1.0).log10() / powers);
    write!(
        page,
        "<h2>Latency of what succeeded</h2>\n<div class=\"plot\"><svg viewBox=\"0 0 {WIDTH} 170\" role=\"img\" aria-label=\"latency\">{}",
        bands(tall)
    )
    .expect(FITS);
    let mut power = 1.0_f64;
    while power <= 10_f64.powf(powers) {
        let label = if power < 1000.0 { format!("{power} ms") } else { format!("{} s", power / 1000.0) };
        write!(
            page,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{0:.1}\" y2=\"{0:.1}\"/><text x=\"{1:.0}\" y=\"{2:.1}\" text-anchor=\"end\">{label}</text>",
            y(power),
            LEFT - 6.0,
            y(power) + 4.0
        )
        .expect(FITS);
        power *= 10.0;
    }
    for (class, of) in [("most", 1.0), ("p95", 0.95), ("p50", 0.5)] {
        let mut path = String::new();
        let mut draws = false;
        for (at, column) in columns.iter().enumerate() {
            let Some(ms) = rank(&column.latencies_ms, of) else {
                draws = false;
                continue;
            };
            let x = LEFT + (at as f64 + 0.5) * wide;
            // A column between two without an answer is a short stroke.
            if draws {
                write!(path, "L{x:.1} {:.1}", y(ms)).expect(FITS);
            } else {
                write!(path, "M{:.1} {2:.1}L{:.1} {2:.1}", x - wide / 2.0, x, y(ms)).expect(FITS);
            }
            draws = true;
        }
        write!(page, "<path class=\"{class}\" d=\"{path}\"/>").expect(FITS);
    }
    writeln!(page, "{}</svg><div class=\"key\">{KEY_LATENCIES}</div></div>", axis(tall)).expect(FITS);
}

const KEY_LATENCIES: &str = "<span><i style=\"background:var(--ok)\"></i>median</span>\
    <span><i style=\"background:var(--info)\"></i>95 %</span><span><i style=\"background:var(--fail)\"></i>longest</span>";

/// The value that this share is at most as long as; of sorted ones.
fn rank(sorted: &[f64], share: f64) -> Option<f64> {
    let at = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(at).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_of_the_values() {
        assert_eq!(rank(&[], 0.5), None);
        assert_eq!((rank(&[1.0, 2.0, 3.0], 0.5), rank(&[1.0, 2.0, 3.0], 1.0)), (Some(2.0), Some(3.0)));
        assert_eq!(rank(&[1.0], 0.95), Some(1.0));
    }
}
