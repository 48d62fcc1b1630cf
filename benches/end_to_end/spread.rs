//! A figure over the rounds.

use std::fmt;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Spread {
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_unstable_by(f64::total_cmp);
        let middle = figures.len() / 2;
        let median = if figures.len().is_multiple_of(2) {
            (figures.get(middle.checked_sub(1)?)? + figures.get(middle)?) / 2.0
        } else {
            *figures.get(middle)?
        };
        Some(Self {
            min: *figures.first()?,
            median,
            max: *figures.last()?,
        })
    }
}

/// `min–median–max`, with the formatter's precision.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let precision = f.precision().unwrap_or(2);
        write!(
            f,
            "{:.precision$}–**{:.precision$}**–{:.precision$}",
            self.min, self.median, self.max
        )
    }
}
