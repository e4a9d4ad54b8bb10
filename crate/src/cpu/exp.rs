//! The exponential and what is made of it, in a form that the compiler turns into SIMD: the library's `expf` and `tanhf` are
//! calls an element, which in wasm would cost more than the matrix products around them.

/// e^x to within 2 ulp. Below -87.3, where the result would be subnormal, it is 0; above 88.4 it is infinite. NaN stays NaN.
///
/// x = n ln 2 + r with |r| <= ln 2 / 2; e^r by the polynomial of Cephes' `expf`, 2^n put together from its bits.
#[inline]
pub(super) fn exp(x: f32) -> f32 {
    /// 1.5 * 2^23: adding it rounds to an integer, which is then in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;

    // Comparisons rather than min and max, which would drop a NaN.
    let bounded = if x > 89.0 { 89.0 } else { x };
    let shifted = bounded * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (bounded - n * LN2_HIGH) - n * LN2_LOW;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 5.0e-1;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0f32.to_bits()));
    let value = (p * (r * r) + r + 1.0) * power;
    if x < -87.3 { 0.0 } else { value }
}

/// x * sigmoid(x).
#[inline]
pub(super) fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// GELU by tanh, `0.5 x (1 + tanh(u))` with `u = sqrt(2 / pi) (x + 0.044715 x^3)`, which is `x * sigmoid(2 u)`.
#[inline]
pub(super) fn gelu_tanh(x: f32) -> f32 {
    const TWICE_SQRT_2_OVER_PI: f32 = 1.595_769;
    x / (1.0 + exp(-TWICE_SQRT_2_OVER_PI * (x + 0.044_715 * x * x * x)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_ulp_over_its_range() {
        // Every 1,000th float of -87.3..=88.3, both signs.
        let steps = (0..88.3f32.to_bits()).step_by(1000).map(f32::from_bits);
        for x in steps.flat_map(|x| [x, -x]).filter(|x| *x >= -87.3) {
            let exact = f64::from(x).exp();
            let ulp = f64::from((exact as f32).next_up()) - f64::from(exact as f32);
            let error = (f64::from(exp(x)) - exact).abs() / ulp;
            assert!(error <= 2.0, "exp({x}) is off by {error} ulp");
        }
    }

    #[test]
    fn exp_saturates_and_keeps_nan() {
        assert_eq!([exp(0.0), exp(-0.0)], [1.0, 1.0]);
        assert_eq!([exp(-88.0), exp(-1e30), exp(f32::NEG_INFINITY)], [0.0; 3]);
        assert_eq!([exp(89.0), exp(1e30), exp(f32::INFINITY)], [f32::INFINITY; 3]);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn activations_match_their_formulas() {
        for i in -4000..=4000 {
            let x = i as f32 / 200.0;
            let v = f64::from(x);
            let u = (2.0 / std::f64::consts::PI).sqrt() * (v + 0.044715 * v.powi(3));
            let gelu = 0.5 * v * (1.0 + u.tanh());
            assert!((f64::from(gelu_tanh(x)) - gelu).abs() <= 1e-6 * v.abs().max(1e-3), "gelu({x})");
            let expected = v / (1.0 + (-v).exp());
            assert!((f64::from(silu(x)) - expected).abs() <= 1e-6 * v.abs().max(1e-3), "silu({x})");
        }
    }
}
