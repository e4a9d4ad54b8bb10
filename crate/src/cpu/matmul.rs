//! Matrix products of slices, by the gemm crate.

use crate::{Error, Result};

/// A read-only matrix: element (r, c) is `data[r * row_stride + c * column_stride]`.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    data: &'a [f32],
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Row-major, `stride` elements from row to row.
    pub(super) fn new(data: &'a [f32], stride: usize) -> Self {
        Self { data, row_stride: stride, column_stride: 1 }
    }

    /// The transpose of a row-major matrix.
    pub(super) fn transposed(data: &'a [f32], stride: usize) -> Self {
        Self { data, row_stride: 1, column_stride: stride }
    }

    fn holds(&self, rows: usize, columns: usize) -> bool {
        holds(self.data.len(), [rows, columns], [self.row_stride, self.column_stride])
    }
}

/// Whether the last element of a matrix that is not empty lies inside its slice.
fn holds(len: usize, size: [usize; 2], strides: [usize; 2]) -> bool {
    if size.contains(&0) {
        return true;
    }
    let row = (size[0] - 1).checked_mul(strides[0]);
    let column = (size[1] - 1).checked_mul(strides[1]);
    row.zip(column).and_then(|(r, c)| r.checked_add(c)).is_some_and(|last| last < len)
}

/// `out = a b`, or `out += a b` where `accumulate`; size is `[m, n, k]`, out is row-major with `stride`.
///
/// # Errors
/// [`Error::ShapeMismatch`] when a matrix does not fit its slice.
pub(super) fn matmul(
    out: &mut [f32],
    stride: usize,
    size: [usize; 3],
    a: Matrix,
    b: Matrix,
    accumulate: bool,
) -> Result<()> {
    let [m, n, k] = size;
    if !(holds(out.len(), [m, n], [stride, 1]) && (m < 2 || stride >= n) && a.holds(m, k) && b.holds(k, n)) {
        return Err(Error::ShapeMismatch {
            op: "matmul",
            what: "operands",
            expected: size.to_vec(),
            found: vec![out.len(), a.data.len(), b.data.len()],
        });
    }
    // The crate keeps small products on one thread by itself.
    #[cfg(not(target_arch = "wasm32"))]
    let parallelism = gemm::Parallelism::Rayon(0);
    #[cfg(target_arch = "wasm32")]
    let parallelism = gemm::Parallelism::None;
    // SAFETY: every element the three matrices address lies inside its slice (checked above), out is borrowed mutably
    // and so overlaps neither operand, and its rows do not overlap each other.
    #[allow(unsafe_code)]
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            stride as isize,
            accumulate,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::testing::{assert_close, random};

    #[test]
    fn strided_products_match_the_sum() {
        for (seed, [m, n, k]) in
            [[1, 1, 1], [3, 5, 7], [80, 33, 65], [130, 17, 1], [2, 3, 0]].into_iter().enumerate()
        {
            let (sa, sb, so) = (k + 3, n + 2, n + 5);
            let a = random(seed as u64, m * sa);
            let at = random(seed as u64 + 50, (k + 1) * (m + 4));
            let b = random(seed as u64 + 100, (k + 1) * sb);
            for (transposed, accumulate) in [(false, false), (true, false), (false, true)] {
                let mut out = vec![f32::NAN; m * so];
                if accumulate {
                    out.fill(2.0);
                }
                let matrix = if transposed { Matrix::transposed(&at, m + 4) } else { Matrix::new(&a, sa) };
                matmul(&mut out, so, [m, n, k], matrix, Matrix::new(&b, sb), accumulate).unwrap();
                for i in 0..m {
                    let expected: Vec<f64> = (0..n)
                        .map(|j| {
                            let product = |l: usize| {
                                let a = if transposed { at[l * (m + 4) + i] } else { a[i * sa + l] };
                                f64::from(a) * f64::from(b[l * sb + j])
                            };
                            (0..k).map(product).sum::<f64>() + if accumulate { 2.0 } else { 0.0 }
                        })
                        .collect();
                    assert_close(&out[i * so..i * so + n], &expected, 1e-5);
                    let beside = &out[i * so + n..(i + 1) * so];
                    assert!(beside.iter().all(|v| if accumulate { *v == 2.0 } else { v.is_nan() }));
                }
            }
        }
    }

    #[test]
    fn slices_that_are_too_short_are_errors() {
        let (a, b) = ([0.0; 6], [0.0; 6]);
        let product = |out: &mut [f32], stride, size, sa| {
            matmul(out, stride, size, Matrix::new(&a, sa), Matrix::new(&b, 2), false)
        };
        assert!(product(&mut [0.0; 4], 2, [2, 2, 3], 3).is_ok());
        assert!(product(&mut [0.0; 3], 2, [2, 2, 3], 3).is_err());
        assert!(product(&mut [0.0; 4], 2, [2, 2, 3], 4).is_err());
        assert!(product(&mut [0.0; 4], 1, [2, 2, 3], 3).is_err());
        assert!(product(&mut [0.0; 8], 2, [2, 2, 4], 3).is_err());
        assert!(product(&mut [0.0; 8], 2, [2, 2, 2], usize::MAX).is_err());
    }
}
