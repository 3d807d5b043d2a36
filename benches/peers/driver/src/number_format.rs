//! Number formats: three significant digits and an SI prefix.

/// Three digits and a prefix: `2.95 M`, `171 k`, `38.0`.
pub(crate) fn short(value: f64) -> String {
    let (value, prefix) = match value {
        value if value >= 999.5e6 => (value / 1e9, " G"),
        value if value >= 999.5e3 => (value / 1e6, " M"),
        value if value >= 999.5 => (value / 1e3, " k"),
        value => (value, ""),
    };
    format!("{}{prefix}", digits(value))
}

/// Three digits: `0.894`, `5.20`, `13.4`, `467`.
pub(crate) fn digits(value: f64) -> String {
    let decimals = match value {
        value if value >= 99.95 => 0,
        value if value >= 9.995 => 1,
        value if value >= 0.9995 || value == 0.0 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_and_a_prefix() {
        for (value, text) in [
            (0.0, "0.00"),
            (0.1234, "0.123"),
            (1.0, "1.00"),
            (9.996, "10.0"),
            (38.04, "38.0"),
            (99.96, "100"),
            (999.6, "1.00 k"),
            (171_499.0, "171 k"),
            (2_951_000.0, "2.95 M"),
            (1_200_000_000.0, "1.20 G"),
        ] {
            assert_eq!(short(value), text);
        }
    }
}
