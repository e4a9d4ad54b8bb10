//! Twin of `patchify.wgsl` and `unpatchify.wgsl`.

use super::memory::Operands;
use crate::Result;
use crate::ops;

pub(super) fn patchify(op: &ops::Patchify, operands: &Operands, out: &mut [f32]) -> Result<()> {
    let latents: [usize; 4] = op.x.dims("patchify", "x")?;
    let x = operands.get(&op.x)?;
    let [c, ..] = latents;
    let patch = op.patch.iter().product::<usize>();
    each(latents, op.patch, |at, row, channel, inside| out[(row * c + channel) * patch + inside] = x[at]);
    Ok(())
}

pub(super) fn unpatchify(op: &ops::Unpatchify, operands: &Operands, out: &mut [f32]) -> Result<()> {
    let latents: [usize; 4] = op.out.dims("unpatchify", "out")?;
    let x = operands.get(&op.x)?;
    let [c, ..] = latents;
    let patch = op.patch.iter().product::<usize>();
    each(latents, op.patch, |at, row, channel, inside| out[at] = x[(row * patch + inside) * c + channel]);
    Ok(())
}

/// Calls f with every index into the latents, its row of patches, its channel and its index (i, j, k) inside the patch.
fn each([c, t, h, w]: [usize; 4], [pt, ph, pw]: [usize; 3], mut f: impl FnMut(usize, usize, usize, usize)) {
    for (channel, z, y) in (0..c).flat_map(|c| (0..t).flat_map(move |z| (0..h).map(move |y| (c, z, y)))) {
        let line = ((channel * t + z) * h + y) * w;
        let row = ((z / pt) * (h / ph) + y / ph) * (w / pw);
        let inside = ((z % pt) * ph + y % ph) * pw;
        for x in 0..w {
            f(line + x, row + x / pw, channel, inside + x % pw);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::cpu::testing::Case;

    fn counting(len: usize) -> Vec<f32> {
        (0..len).map(|i| i as f32).collect()
    }

    /// The channel order of the patch embedding's weight:
    ///
    /// ```python
    /// x = torch.arange(64.0).reshape(1, 2, 2, 4, 4)
    /// w = torch.eye(8).reshape(8, 2, *patch)
    /// F.conv3d(x, w, stride=patch).flatten(2).transpose(1, 2)
    /// ```
    #[test]
    fn patchify_is_a_convolution_with_the_identity() {
        let golden: [([usize; 3], [u8; 64]); 2] = [
            (
                [1, 2, 2],
                [
                    0, 1, 4, 5, 32, 33, 36, 37, 2, 3, 6, 7, 34, 35, 38, 39, 8, 9, 12, 13, 40, 41, 44, 45, 10,
                    11, 14, 15, 42, 43, 46, 47, 16, 17, 20, 21, 48, 49, 52, 53, 18, 19, 22, 23, 50, 51, 54,
                    55, 24, 25, 28, 29, 56, 57, 60, 61, 26, 27, 30, 31, 58, 59, 62, 63,
                ],
            ),
            (
                [2, 1, 2],
                [
                    0, 1, 16, 17, 32, 33, 48, 49, 2, 3, 18, 19, 34, 35, 50, 51, 4, 5, 20, 21, 36, 37, 52, 53,
                    6, 7, 22, 23, 38, 39, 54, 55, 8, 9, 24, 25, 40, 41, 56, 57, 10, 11, 26, 27, 42, 43, 58,
                    59, 12, 13, 28, 29, 44, 45, 60, 61, 14, 15, 30, 31, 46, 47, 62, 63,
                ],
            ),
        ];
        for (patch, expected) in golden {
            let mut case = Case::new(0);
            let x = case.input(&[2, 2, 4, 4], &counting(64));
            let out = case.recorder.patchify(&x, patch).unwrap();
            assert_eq!(case.run(&out), expected.map(f32::from));
        }
    }

    /// The end of `WanTransformer3DModel.forward`:
    ///
    /// ```python
    /// h = torch.arange(64.0).reshape(1, 2 // pt, 4 // ph, 4 // pw, pt, ph, pw, -1)
    /// h.permute(0, 7, 1, 4, 2, 5, 3, 6).flatten(6, 7).flatten(4, 5).flatten(2, 3)
    /// ```
    #[test]
    fn unpatchify_is_the_end_of_the_transformer() {
        let golden: [([usize; 3], [u8; 64]); 2] = [
            (
                [1, 2, 2],
                [
                    0, 2, 8, 10, 4, 6, 12, 14, 16, 18, 24, 26, 20, 22, 28, 30, 32, 34, 40, 42, 36, 38, 44,
                    46, 48, 50, 56, 58, 52, 54, 60, 62, 1, 3, 9, 11, 5, 7, 13, 15, 17, 19, 25, 27, 21, 23,
                    29, 31, 33, 35, 41, 43, 37, 39, 45, 47, 49, 51, 57, 59, 53, 55, 61, 63,
                ],
            ),
            (
                [2, 1, 2],
                [
                    0, 2, 8, 10, 16, 18, 24, 26, 32, 34, 40, 42, 48, 50, 56, 58, 4, 6, 12, 14, 20, 22, 28,
                    30, 36, 38, 44, 46, 52, 54, 60, 62, 1, 3, 9, 11, 17, 19, 25, 27, 33, 35, 41, 43, 49, 51,
                    57, 59, 5, 7, 13, 15, 21, 23, 29, 31, 37, 39, 45, 47, 53, 55, 61, 63,
                ],
            ),
        ];
        for (patch, expected) in golden {
            let mut case = Case::new(0);
            let [tokens, width] = [32 / patch.iter().product::<usize>(), 2 * patch.iter().product::<usize>()];
            let x = case.input(&[tokens, width], &counting(64));
            let out = case.recorder.unpatchify(&x, patch, [2, 2, 4, 4]).unwrap();
            assert_eq!(case.run(&out), expected.map(f32::from));
        }
    }

    #[test]
    fn sides_of_any_length_follow_the_formulas() {
        for seed in 0..12 {
            let mut case = Case::new(seed);
            let patch = [case.size(2), case.size(3), case.size(3)];
            let grid = [case.size(3), case.size(4), case.size(5)];
            let c = case.size(4);
            let [t, h, w] = [0, 1, 2].map(|a| patch[a] * grid[a]);
            let (latents, xs) = case.random(&[c, t, h, w]);
            let rows = case.recorder.patchify(&latents, patch).unwrap();
            let mut expected = Vec::new();
            for (gt, gy, gx) in triples(grid) {
                for ci in 0..c {
                    for (i, j, k) in triples(patch) {
                        let (z, y, x) = (gt * patch[0] + i, gy * patch[1] + j, gx * patch[2] + k);
                        expected.push(xs[((ci * t + z) * h + y) * w + x]);
                    }
                }
            }
            assert_eq!(case.run(&rows), expected);

            let mut case = Case::new(seed);
            let (rows, rs) = case.random(rows.shape());
            let back = case.recorder.unpatchify(&rows, patch, [c, t, h, w]).unwrap();
            let mut expected = vec![0.0; rs.len()];
            let mut values = rs.into_iter();
            for (gt, gy, gx) in triples(grid) {
                for (i, j, k) in triples(patch) {
                    for ci in 0..c {
                        let (z, y, x) = (gt * patch[0] + i, gy * patch[1] + j, gx * patch[2] + k);
                        expected[((ci * t + z) * h + y) * w + x] = values.next().unwrap();
                    }
                }
            }
            assert_eq!(case.run(&back), expected);
        }
    }

    fn triples([a, b, c]: [usize; 3]) -> impl Iterator<Item = (usize, usize, usize)> {
        (0..a).flat_map(move |i| (0..b).flat_map(move |j| (0..c).map(move |k| (i, j, k))))
    }
}
