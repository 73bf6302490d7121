//! Amounts to three decimals.

use std::{
    fmt,
    iter::Sum,
    ops::{Add, AddAssign, Sub, SubAssign},
};

/// An amount in thousandths. Mesos computes on this fixed-point form too (src/common/values.cpp), so sums
/// and differences are exact. `+` and `-` saturate; `checked_*` tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scalar(i64);

impl Scalar {
    /// Nothing.
    pub const ZERO: Scalar = Scalar(0);

    /// The largest amount.
    pub const MAX: Scalar = Scalar(i64::MAX);

    /// The largest amount that is taken from the wire, 2^51 thousandths: so far an `f64` tells every thousandth from
    /// the next, and thousands of such amounts can be added up.
    pub const WIRE_MAX: Scalar = Scalar(1 << 51);

    /// From a count of thousandths.
    pub const fn from_thousandths(thousandths: i64) -> Self {
        Self(thousandths)
    }

    /// The nearest amount; halves go away from zero. NaN gives zero, what is out of range the nearest bound.
    #[allow(clippy::cast_possible_truncation)] // saturates
    pub fn from_f64(value: f64) -> Self {
        Self((value * 1000.0).round() as i64)
    }

    /// Like [`Scalar::from_f64`], but `None` for NaN and for what is beyond [`Scalar::WIRE_MAX`] on either side of zero.
    #[allow(clippy::cast_possible_truncation)] // within the bounds
    pub fn checked_from_f64(value: f64) -> Option<Self> {
        let thousandths = (value * 1000.0).round();
        let in_range = thousandths.abs() <= Self::WIRE_MAX.0 as f64; // not so for NaN
        in_range.then_some(Self(thousandths as i64))
    }

    /// As the wire has it.
    #[allow(clippy::cast_precision_loss)]
    pub fn as_f64(self) -> f64 {
        (self.0 / 1000) as f64 + (self.0 % 1000) as f64 / 1000.0
    }

    /// The count of thousandths.
    pub const fn thousandths(self) -> i64 {
        self.0
    }

    /// Whether it is nothing.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum, if it fits.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference, if it fits; it may be negative.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }
}

impl Add for Scalar {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Scalar {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl AddAssign for Scalar {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Scalar {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Sum for Scalar {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_double(f, self.as_f64())
    }
}

/// Writes as C's `%.15g`, which is how Mesos prints amounts in texts.
pub(super) fn write_double(f: &mut impl fmt::Write, value: f64) -> fmt::Result {
    const DIGITS: i32 = 15;
    if !value.is_finite() {
        return f.write_str(if value.is_nan() {
            "nan"
        } else if value > 0.0 {
            "inf"
        } else {
            "-inf"
        });
    }
    if value == 0.0 {
        return f.write_str("0");
    }
    let scientific = format!("{value:.14e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..DIGITS).contains(&exponent) {
        let decimals = usize::try_from(DIGITS - 1 - exponent).unwrap_or(0);
        f.write_str(trim_zeros(&format!("{value:.decimals$}")))
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        write!(f, "{}e{sign}{:02}", trim_zeros(mantissa), exponent.abs())
    }
}

fn trim_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: f64) -> String {
        let mut out = String::new();
        write_double(&mut out, value).unwrap();
        out
    }

    #[test]
    fn rounds_to_the_nearest_thousandth() {
        for (value, thousandths) in
            [(0.1, 100), (0.0004, 0), (0.0005, 1), (-0.0005, -1), (2.3456, 2346), (32.0, 32_000)]
        {
            assert_eq!(Scalar::from_f64(value).thousandths(), thousandths, "{value}");
        }
        assert_eq!(Scalar::from_f64(f64::NAN), Scalar::ZERO);
        assert_eq!(Scalar::from_f64(1e308), Scalar::MAX);
    }

    #[test]
    fn tells_what_does_not_fit() {
        assert_eq!(Scalar::checked_from_f64(f64::NAN), None);
        assert_eq!(Scalar::checked_from_f64(f64::INFINITY), None);
        assert_eq!(Scalar::checked_from_f64(1e308), None);
        assert_eq!(Scalar::checked_from_f64(-1e16), None);
        assert_eq!(Scalar::checked_from_f64(2.3e12), None);
        assert_eq!(Scalar::checked_from_f64(2.2e12), Some(Scalar::from_thousandths(2_200_000_000_000_000)));
    }

    #[test]
    fn every_amount_survives_the_wire() {
        for thousandths in (0..1000).map(|below| Scalar::WIRE_MAX.thousandths() - below).chain(-1000..1000) {
            let amount = Scalar::from_thousandths(thousandths);
            assert_eq!(Scalar::checked_from_f64(amount.as_f64()), Some(amount));
        }
    }

    #[test]
    fn sums_are_exact() {
        let sum: Scalar = std::iter::repeat_n(Scalar::from_f64(0.1), 10).sum();
        assert_eq!(sum.as_f64(), 1.0);
        assert_eq!(Scalar::MAX + Scalar::MAX, Scalar::MAX);
        assert_eq!(Scalar::MAX.checked_add(Scalar::from_f64(1.0)), None);
    }

    #[test]
    fn prints_like_c() {
        assert_eq!(text(0.1), "0.1");
        assert_eq!(text(32.0), "32");
        assert_eq!(text(-1.0), "-1");
        assert_eq!(text(1e308), "1e+308");
        assert_eq!(text(-9.223_372_036_854_775e15), "-9.22337203685478e+15");
        assert_eq!(text(123_456_789_012_345.0), "123456789012345");
        assert_eq!(text(0.00001), "1e-05");
        assert_eq!(text(0.001), "0.001");
    }
}
