//! Numbers and sizes as people read them.
//!
//! Owns the units. Must never be used for output that programs read.

const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// A number of bytes with three significant digits: `640 B`, `1.50 KiB`, `12.3 MiB`, `128 GiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    // Tenths and hundredths are computed in integers, so that the result is the same everywhere.
    let (mut unit, mut scale) = (0, 1_u128 << 10);
    let in_hundredths = |scale: u128| (u128::from(bytes) * 100 + scale / 2) / scale;
    // 1023.5 and more would be printed as 1024 of a unit.
    while in_hundredths(scale) >= 102_350 && unit + 1 < UNITS.len() {
        (unit, scale) = (unit + 1, scale << 10);
    }
    let hundredths = in_hundredths(scale);
    let name = UNITS[unit];
    match hundredths {
        0..=999 => format!("{}.{:02} {name}", hundredths / 100, hundredths % 100),
        1000..=9994 => {
            let tenths = (hundredths + 5) / 10;
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
        _ => format!("{} {name}", (hundredths + 50) / 100),
    }
}

/// A number with a comma between groups of three digits: `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits_and_the_largest_unit_that_fits() {
        for (size, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1536, "1.50 KiB"),
            (10_240, "10.0 KiB"),
            (10_230, "9.99 KiB"),
            (102_340, "99.9 KiB"),
            (102_400, "100 KiB"),
            (1_048_575, "1.00 MiB"),
            (1 << 20, "1.00 MiB"),
            (12_939_428, "12.3 MiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(size), text, "{size}");
        }
    }

    #[test]
    fn counts_have_groups_of_three_digits() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
    }
}
