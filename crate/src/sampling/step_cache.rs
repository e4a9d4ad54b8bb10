//! Steps without a pass through the transformer, where its output is predicted to change little: EasyCache
//! (Zhou et al. 2025, "Less is Enough: Training-Free Video Diffusion Acceleration via Runtime-Adaptive Caching").
//!
//! What the transformer adds to its input, `velocity - latents`, changes slowly in the middle of the sampling. How far its output
//! moves for what its input moves is taken from the last two passes; what that rate makes of the input's way since the last
//! pass, as a share of the output, is summed up, and while the sum is below the threshold a step goes on with what was
//! added the last time.

/// Share of the steps that are always made by a pass, at the beginning: there the clip's layout is decided.
const WARM_UP: f64 = 0.2;

/// Which of a clip's steps need a pass. Norms are means of absolute values.
#[derive(Debug, Clone)]
pub struct StepCache {
    threshold: f64,
    /// Steps in all.
    steps: usize,
    /// Input of the step before, whether that made a pass or not.
    before: Vec<f32>,
    pass: Option<Pass>,
    /// Change of the output for a change of the input, between the last two passes.
    rate: Option<f64>,
    /// Predicted change of the output since the last pass, as a share of it.
    change: f64,
}

/// The last pass.
#[derive(Debug, Clone)]
struct Pass {
    input: Vec<f32>,
    output: Vec<f32>,
}

impl StepCache {
    /// `threshold` is the change of the transformer's output, as a share of it, up to which a pass is spared: 0.05 to 0.2.
    pub fn new(threshold: f64, steps: usize) -> Self {
        Self { threshold, steps, before: Vec::new(), pass: None, rate: None, change: 0.0 }
    }

    /// Whether step `index`, which begins at `input`, can do without a pass.
    pub fn spares(&mut self, index: usize, input: Vec<f32>) -> bool {
        let moved = distance(&input, &self.before);
        self.before = input;
        let warm_up = (self.steps as f64 * WARM_UP).ceil() as usize;
        let (Some(pass), Some(rate)) = (&self.pass, self.rate) else { return false };
        let always = index < warm_up || index + 1 >= self.steps;
        self.change += rate * moved / size(&pass.output);
        // A change that is no number is none that can be trusted.
        !always && self.change < self.threshold
    }

    /// Takes note of what a pass made of the input that [`StepCache::spares`] was last given.
    pub fn passed(&mut self, output: Vec<f32>) {
        let input = self.before.clone();
        if let Some(pass) = &self.pass {
            self.rate = Some(distance(&output, &pass.output) / distance(&input, &pass.input));
        }
        self.pass = Some(Pass { input, output });
        self.change = 0.0;
    }
}

/// Mean absolute difference.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    let sum: f64 = a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs()).sum();
    sum / a.len() as f64
}

/// Mean absolute value.
fn size(a: &[f32]) -> f64 {
    a.iter().map(|a| f64::from(*a).abs()).sum::<f64>() / a.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps spared, by a transformer whose output is `factor` times its input, at these inputs.
    fn spared(threshold: f64, factor: f32, inputs: &[f32]) -> Vec<usize> {
        let mut cache = StepCache::new(threshold, inputs.len());
        let mut spared = Vec::new();
        for (index, input) in inputs.iter().enumerate() {
            if cache.spares(index, vec![*input; 3]) {
                spared.push(index);
            } else {
                cache.passed(vec![factor * input; 3]);
            }
        }
        spared
    }

    #[test]
    fn passes_are_spared_while_the_predicted_change_is_small() {
        // From pass to pass the output changes as the input does: each step of 1 in 100 is a change of about 0.01.
        let inputs: Vec<f32> = (0..20).map(|i| 100.0 + i as f32).collect();
        // The first fifth makes passes; after one at n there are two steps below 0.025, and the next is above.
        assert_eq!(spared(0.025, 3.0, &inputs), [4, 5, 7, 8, 10, 11, 13, 14, 16, 17]);
        assert_eq!(spared(0.025, -0.1, &inputs), spared(0.025, 3.0, &inputs));
        assert!(spared(0.005, 3.0, &inputs).is_empty());
        // The last step always makes one.
        assert_eq!(spared(1e9, 3.0, &inputs), (4..19).collect::<Vec<_>>());
    }

    #[test]
    fn a_change_that_is_no_number_spares_nothing() {
        assert!(spared(0.5, 0.0, &[1.0; 20]).is_empty());
        assert!(spared(0.5, f32::NAN, &[1.0; 20]).is_empty());
        assert!(spared(0.5, 1.0, &[]).is_empty());
    }
}
