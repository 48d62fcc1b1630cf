//! Small plots of an hour, as SVG in the page: shapes that styles colour, and a sentence for those who
//! do not see them.

use maud::{Markup, html};

use super::super::history::{Hour, MINUTES};
use super::words::{duration, percent, rate};

/// The drawing's own units; styles stretch it.
const WIDTH: f64 = 240.0;
const HEIGHT: f64 = 48.0;

/// Requests of each minute, with those that failed in front.
pub(super) fn requests(hour: &Hour) -> Markup {
    let most = hour.requests.iter().copied().max().unwrap_or_default();
    let per_minute = most as f64 / 60.0;
    let words = format!(
        "Requests of the last hour: {} in all, at most {}; {} failed",
        hour.total(),
        rate(per_minute),
        percent(hour.error_rate().unwrap_or_default())
    );
    let bars = |counts: &[u64]| {
        let first = MINUTES.saturating_sub(counts.len());
        let step = WIDTH / MINUTES as f64;
        counts
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
            .map(|(minute, count)| {
                let x = (first + minute) as f64 * step;
                // What there was is to be seen, however little.
                let height = (*count as f64 / most.max(1) as f64 * (HEIGHT - 2.0)).max(1.0);
                let y = HEIGHT - height;
                format!("M{x:.1} {HEIGHT}V{y:.1}h{:.1}V{HEIGHT}z", step - 0.6)
            })
            .collect::<String>()
    };
    drawing(
        &words,
        &html! {
            path.requests d=(bars(&hour.requests)) {}
            path.errors d=(bars(&hour.errors)) {}
        },
    )
}

/// Median and 99th percentile of each minute.
pub(super) fn durations(hour: &Hour) -> Markup {
    let most = hour.quantiles.iter().flatten().map(|(_, p99)| *p99);
    let most = most.fold(0.0, f64::max);
    let words = match hour.whole {
        Some((median, p99)) => format!(
            "Durations of the last hour: median {}, 99th percentile {}",
            duration(median),
            duration(p99)
        ),
        None => "Durations of the last hour: no requests".to_owned(),
    };
    let line = |of: fn(&(f64, f64)) -> f64| {
        let first = MINUTES.saturating_sub(hour.quantiles.len());
        let step = WIDTH / MINUTES as f64;
        let mut path = String::new();
        let mut drawn = false;
        for (minute, quantiles) in hour.quantiles.iter().enumerate() {
            let Some(quantiles) = quantiles else {
                drawn = false;
                continue;
            };
            let x = (first + minute) as f64 * step;
            let y = HEIGHT - 1.0 - of(quantiles) / most.max(f64::MIN_POSITIVE) * (HEIGHT - 3.0);
            // A minute alone is a stroke, too.
            let go = if drawn { 'L' } else { 'M' };
            path += &format!("{go}{x:.1} {y:.1}h{step:.1}");
            drawn = true;
        }
        path
    };
    drawing(
        &words,
        &html! {
            path.p99 d=(line(|(_, p99)| *p99)) {}
            path.median d=(line(|(median, _)| *median)) {}
        },
    )
}

fn drawing(words: &str, shapes: &Markup) -> Markup {
    html! {
        svg.plot viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" role="img" aria-label=(words) {
            title { (words) }
            (shapes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour() -> Hour {
        Hour {
            rate: 1.0,
            requests: vec![60, 0, 120],
            errors: vec![0, 0, 12],
            quantiles: vec![Some((0.001, 0.01)), None, Some((0.002, 0.02))],
            whole: Some((0.001, 0.02)),
        }
    }

    #[test]
    fn minutes_without_requests_are_gaps() {
        let drawn = requests(&hour()).into_string();
        assert!(
            drawn.contains("180 in all, at most 2.0/s; 6.7 % failed"),
            "{drawn}"
        );
        // Two bars of requests and one of errors, the last minute at the right end.
        assert_eq!(drawn.matches('z').count(), 3);
        assert!(drawn.contains("M236.0 48V2.0h3.4V48z"), "{drawn}");
        let drawn = durations(&hour()).into_string();
        assert!(
            drawn.contains("median 1.0 ms, 99th percentile 20 ms"),
            "{drawn}"
        );
        assert!(!drawn.contains('L'), "no line across a gap: {drawn}");
    }

    #[test]
    fn an_empty_hour_is_drawn_empty() {
        let empty = Hour::default();
        assert!(requests(&empty).into_string().contains("d=\"\""));
        assert!(durations(&empty).into_string().contains("no requests"));
    }
}
