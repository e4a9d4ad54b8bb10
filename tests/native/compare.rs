//! How far what was found is from a golden.
#![allow(dead_code, reason = "every test binary uses its own part")]

/// RMS of the difference over RMS.
pub fn relative(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let sum = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
    let difference = sum(&mut found.iter().zip(expected).map(|(f, e)| f64::from(f - e)));
    (difference / sum(&mut expected.iter().map(|&e| f64::from(e)))).sqrt()
}

/// Largest difference.
pub fn worst(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    // A NaN must not pass for small.
    found
        .iter()
        .zip(expected)
        .map(|(f, e)| (f - e).abs())
        .fold(0.0, |a, b| if b > a || b.is_nan() { b } else { a })
}
