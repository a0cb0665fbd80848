//! An axis: where a value is, and which values are written beside it.

/// From this factor between the greatest and the least value on, an axis is logarithmic: the bar of the
/// least could not be seen.
const FAR_APART: f64 = 40.0;
/// About how many values are written beside a linear axis.
const TICKS: f64 = 5.0;

/// Where values are on a line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Axis {
    from: f64,
    to: f64,
    logarithmic: bool,
}

impl Axis {
    /// One from 0, or a logarithmic one where the values are far apart; `None` for no values.
    pub(super) fn fitting(values: impl Iterator<Item = f64> + Clone) -> Option<Self> {
        let values = values.filter(|value| value.is_finite() && *value >= 0.0);
        let greatest = values.clone().fold(None, |most: Option<f64>, value| {
            Some(most.map_or(value, |most| most.max(value)))
        })?;
        let positive = values.filter(|value| *value > 0.0);
        let least = positive.clone().fold(f64::INFINITY, f64::min);
        if least.is_finite() && greatest / least > FAR_APART {
            return Some(Self::logarithmic(positive));
        }
        let to = if greatest > 0.0 { greatest } else { 1.0 };
        Some(Self {
            from: 0.0,
            to: to * 1.02,
            logarithmic: false,
        })
    }

    /// A logarithmic one around all these values, some of which are above 0.
    pub(super) fn logarithmic(values: impl Iterator<Item = f64>) -> Self {
        let positive = values.filter(|value| value.is_finite() && *value > 0.0);
        let (least, greatest) = positive.fold((f64::INFINITY, 0.0), |(least, greatest), value| {
            (value.min(least), value.max(greatest))
        });
        Self {
            // Even the least bar has a length.
            from: least / 1.5,
            to: greatest * 1.1,
            logarithmic: true,
        }
    }

    /// The part of a logarithmic one that is at most so many times from 1.
    pub(super) fn within(self, factor: f64) -> Self {
        Self {
            from: self.from.max(1.0 / factor),
            to: self.to.min(factor),
            ..self
        }
    }

    /// Whether a value has its place beyond the end.
    pub(super) fn ends_before(self, value: f64) -> bool {
        value > self.to
    }

    pub(super) fn is_logarithmic(self) -> bool {
        self.logarithmic
    }

    /// Where a value is between two pixels; those beyond the axis are at its ends.
    #[expect(clippy::cast_possible_truncation, reason = "between two pixels")]
    pub(super) fn place(self, value: f64, left: i32, right: i32) -> i32 {
        let share = if self.logarithmic {
            (value.max(f64::MIN_POSITIVE) / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        let width = f64::from(right - left);
        left + (share.clamp(0.0, 1.0) * width).round() as i32
    }

    /// The values to be written beside it, round numbers of `unit`.
    pub(super) fn ticks(self, unit: f64) -> Vec<f64> {
        if self.logarithmic {
            self.logarithmic_ticks()
        } else {
            let step = unit * nice((self.to - self.from) / unit / TICKS);
            let all = (0..).map(|count| self.from + f64::from(count) * step);
            all.take_while(|tick| *tick <= self.to).collect()
        }
    }

    /// 1, 2, 5 and so on over a short range, powers of ten or of a thousand over longer ones.
    #[expect(clippy::cast_possible_truncation, reason = "exponents are small")]
    fn logarithmic_ticks(self) -> Vec<f64> {
        let decades = (self.to / self.from).log10();
        let (factors, every): (&[f64], i32) = match decades {
            few if few <= 2.2 => (&[1.0, 2.0, 5.0], 1),
            more if more <= 7.0 => (&[1.0], 1),
            _ => (&[1.0], 3),
        };
        let exponents = self.from.log10().floor() as i32..=self.to.log10().ceil() as i32;
        let powers = exponents.filter(|exponent| exponent % every == 0);
        let all =
            powers.flat_map(|exponent| factors.iter().map(move |it| it * 10_f64.powi(exponent)));
        all.filter(|tick| (self.from..=self.to).contains(tick))
            .collect()
    }
}

/// The nearest of 1, 2 and 5 times a power of ten that is not below.
fn nice(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    let factors = [1.0, 2.0, 5.0].into_iter();
    let found = factors
        .map(|factor| factor * power)
        .find(|nice| *nice >= step);
    found.unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_axis_begins_at_nothing() {
        let axis = Axis::fitting([2.0, 10.0].into_iter()).unwrap();
        assert!(!axis.is_logarithmic());
        assert_eq!(axis.place(0.0, 100, 200), 100);
        assert!((190..200).contains(&axis.place(10.0, 100, 200)));
        assert_eq!(axis.place(1e9, 100, 200), 200);
        assert_eq!(axis.ticks(1.0), [0.0, 5.0, 10.0]);
        let memory = Axis::fitting([4096.0].into_iter()).unwrap();
        let expected = [0.0, 1024.0, 2048.0, 3072.0, 4096.0];
        assert_eq!(memory.ticks(1024.0), expected);
    }

    #[test]
    fn values_far_apart_have_a_logarithmic_axis() {
        let axis = Axis::fitting([0.0, 0.001, 1.0].into_iter()).unwrap();
        assert!(axis.is_logarithmic());
        let [low, middle, high] = [0.001, 0.03, 1.0].map(|value| axis.place(value, 0, 1000));
        assert!(0 < low && low < 400 && 400 < middle && middle < 600 && high > 900);
        assert_eq!(axis.place(0.0, 0, 1000), 0, "nothing has no logarithm");
        let ticks: Vec<_> = axis.ticks(1.0).iter().map(|it| format!("{it}")).collect();
        assert_eq!(ticks, ["0.001", "0.01", "0.1", "1"]);
    }

    #[test]
    fn one_value_and_none() {
        assert_eq!(Axis::fitting([].into_iter()), None);
        for value in [0.0, 7.0] {
            let ticks = Axis::fitting([value].into_iter()).unwrap().ticks(1.0);
            assert!((2..=8).contains(&ticks.len()), "{ticks:?}");
        }
    }
}
