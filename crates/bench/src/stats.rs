//! Medians and spreads of a handful of rounds.

/// The middle, least and greatest of some figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) greatest: f64,
}

impl Summary {
    /// `None` where there are no figures.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_unstable_by(f64::total_cmp);
        let middle = figures.len() / 2;
        let median = if figures.len().is_multiple_of(2) {
            f64::midpoint(*figures.get(middle.checked_sub(1)?)?, *figures.get(middle)?)
        } else {
            *figures.get(middle)?
        };
        Some(Self {
            median,
            least: *figures.first()?,
            greatest: *figures.last()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_and_even_counts() {
        let odd = Summary::of([9.0, 1.0, 5.0]).unwrap();
        assert_eq!((odd.median, odd.least, odd.greatest), (5.0, 1.0, 9.0));
        assert_eq!(
            Summary::of([4.0, 1.0, 2.0, 9.0]).map(|s| s.median),
            Some(3.0)
        );
        assert_eq!(Summary::of([]), None);
    }
}
