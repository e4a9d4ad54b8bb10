//! Twin of `relative_bias.wgsl`.

use super::memory::Operands;
use crate::Result;
use crate::ops;

pub(super) fn relative_bias(op: &ops::RelativeBias, operands: &Operands, out: &mut [f32]) -> Result<()> {
    let [heads, distances] = op.out.dims("relative_bias", "out")?;
    let table = operands.get(&op.table)?;
    let buckets = op.buckets();
    for (head, row) in out.chunks_exact_mut(distances.max(1)).enumerate() {
        for (y, bucket) in row.iter_mut().zip(&buckets) {
            *y = table[bucket * heads + head];
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::cpu::testing::Case;
    use crate::ops::relative_position_bucket;

    /// Where a bucket begins, by magnitude of the distance, as `UMT5Attention._relative_position_bucket` has it:
    ///
    /// ```python
    /// config = UMT5Config(relative_attention_num_buckets=n, relative_attention_max_distance=m)
    /// attention = UMT5Attention(config, has_relative_attention_bias=True)
    /// b = attention._relative_position_bucket(torch.arange(0, 2001))
    /// [int(r) for r in range(1, 2001) if b[r] != b[r - 1]]
    /// ```
    const STARTS: [(usize, usize, &[usize]); 4] = [
        (32, 128, &[1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91]),
        (8, 20, &[1, 2, 7]),
        (
            64,
            300,
            &[
                1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 20, 24, 28, 34, 40, 49, 58, 70, 84,
                100, 121, 145, 174, 208, 250,
            ],
        ),
        (32, 1000, &[1, 2, 3, 4, 5, 6, 7, 8, 15, 27, 49, 90, 164, 300, 547]),
    ];

    #[test]
    fn buckets_begin_where_torch_has_them() {
        for (buckets, max_distance, starts) in STARTS {
            for distance in 0..=2000 {
                let bucket = starts.iter().filter(|&&start| start <= distance).count();
                // A positive distance has the upper half of the buckets; there is no upper bucket for distance 0.
                let positive = if distance == 0 { 0 } else { buckets / 2 + bucket };
                let found = |d| relative_position_bucket(d, buckets, max_distance);
                let d = distance as i64;
                assert_eq!(
                    (found(-d), found(d)),
                    (bucket, positive),
                    "{buckets}, {max_distance}, {distance}"
                );
            }
        }
    }

    #[test]
    fn extreme_settings_stay_inside_the_table() {
        for buckets in [4, 5, 7, 32] {
            for max_distance in [0, 1, 2, 8, usize::MAX] {
                for distance in [i64::MIN, -9, -1, 0, 1, 2, 3, 8, 9, i64::MAX] {
                    assert!(relative_position_bucket(distance, buckets, max_distance) < buckets);
                }
            }
        }
    }

    #[test]
    fn the_table_is_spread_by_distance() {
        let mut case = Case::new(1);
        let (heads, tokens) = (3, 50);
        let (table, ts) = case.random(&[32, heads]);
        let out = case.recorder.relative_bias(&table, tokens, 128).unwrap();
        let expected: Vec<f32> = (0..heads)
            .flat_map(|h| (1 - tokens as i64..tokens as i64).map(move |d| (h, d)))
            .map(|(h, d)| ts[relative_position_bucket(d, 32, 128) * heads + h])
            .collect();
        assert_eq!(case.run(&out), expected);
    }
}
