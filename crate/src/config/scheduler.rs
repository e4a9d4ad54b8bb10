//! `scheduler/scheduler_config.json`: the noise schedule that the model was trained for, and the solver to walk it with.

use super::ConfigFile;
use crate::error::Result;
use serde::Deserialize;
use serde_json::Value;
use std::ops::RangeInclusive;

/// How the probability flow is integrated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Solver {
    /// UniPC, a predictor-corrector of order 1 or 2 (<https://arxiv.org/abs/2302.04867>).
    UniPc,
    /// Euler steps along the flow.
    Euler,
    /// To clean latents and back with fresh noise: models distilled for a few steps.
    Dmd,
}

impl Solver {
    /// Every solver by the name that callers use.
    pub const NAMES: [(&str, Self); 3] = [("unipc", Self::UniPc), ("euler", Self::Euler), ("dmd", Self::Dmd)];

    /// The name that callers use.
    pub fn name(self) -> &'static str {
        match self {
            Self::UniPc => "unipc",
            Self::Euler => "euler",
            Self::Dmd => "dmd",
        }
    }
}

impl Solver {
    /// Diffusers' class names of the solvers.
    pub(crate) const CLASSES: &[&str] = &["UniPCMultistepScheduler", "FlowMatchEulerDiscreteScheduler"];

    /// The solver of a diffusers scheduler class.
    pub fn from_class(name: &str) -> Option<Self> {
        match name {
            "UniPCMultistepScheduler" => Some(Self::UniPc),
            "FlowMatchEulerDiscreteScheduler" => Some(Self::Euler),
            _ => None,
        }
    }
}

/// UniPC's function B(h), `solver_type` in diffusers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UniPcBasis {
    /// B(h) = h.
    Bh1,
    /// B(h) = exp(h) - 1.
    Bh2,
}

/// The scheduler's settings; a field that the file leaves out has the default of its diffusers class.
///
/// Source: diffusers `schedulers/scheduling_unipc_multistep.py` and `scheduling_flow_match_euler_discrete.py`. A folder
/// can be run with the other solver: the settings that both know carry over.
#[derive(Debug, Clone, PartialEq)]
pub struct SchedulerConfig {
    /// The solver of the file's class; `None` where the file does not say.
    pub class: Option<Solver>,
    /// Timesteps of training: the transformer is given sigma times this.
    pub num_train_timesteps: usize,
    /// Timestep shift s' = shift s / (1 + (shift - 1) s).
    pub shift: f64,
    /// UniPC's order: 1 or 2.
    pub solver_order: usize,
    /// UniPC's B(h).
    pub solver_type: UniPcBasis,
    /// Steps, from 0, after which UniPC does not correct.
    pub disable_corrector: Vec<usize>,
}

#[derive(Deserialize)]
#[serde(default)]
struct Document {
    _class_name: Option<String>,
    num_train_timesteps: usize,
    flow_shift: Option<f64>,
    shift: Option<f64>,
    solver_order: usize,
    solver_type: String,
    disable_corrector: Option<Vec<usize>>,
    solver_p: Option<Value>,
    use_flow_sigmas: Option<bool>,
    prediction_type: Option<String>,
    predict_x0: bool,
    lower_order_final: bool,
    final_sigmas_type: String,
    shift_terminal: Option<f64>,
    thresholding: bool,
    use_karras_sigmas: Option<bool>,
    use_exponential_sigmas: Option<bool>,
    use_beta_sigmas: Option<bool>,
    use_dynamic_shifting: Option<bool>,
    stochastic_sampling: bool,
    invert_sigmas: bool,
}

impl Default for Document {
    fn default() -> Self {
        Self {
            _class_name: None,
            num_train_timesteps: 1000,
            flow_shift: None,
            shift: None,
            solver_order: 2,
            solver_type: "bh2".to_owned(),
            disable_corrector: None,
            solver_p: None,
            use_flow_sigmas: None,
            prediction_type: None,
            predict_x0: true,
            lower_order_final: true,
            final_sigmas_type: "zero".to_owned(),
            shift_terminal: None,
            thresholding: false,
            use_karras_sigmas: None,
            use_exponential_sigmas: None,
            use_beta_sigmas: None,
            use_dynamic_shifting: None,
            stochastic_sampling: false,
            invert_sigmas: false,
        }
    }
}

impl SchedulerConfig {
    /// Where the file lies in a model folder.
    pub const PATH: &str = "scheduler/scheduler_config.json";

    /// Shifts for which neighbouring sigmas of up to 1,000 steps stay apart in f32.
    pub const SHIFT_RANGE: RangeInclusive<f64> = 0.01..=100.0;

    /// Reads and checks the file.
    ///
    /// Fails with `FileInvalid` (no JSON, wrong types), `ArchitectureUnknown` (another class) or `ConfigUnsupported` (a
    /// setting that is no flow matching, or one of the variations that no Wan model uses).
    pub fn parse(path: &str, json: &[u8]) -> Result<Self> {
        let file = ConfigFile::new(path, json);
        let found: Document = file.parse()?;
        file.class(found._class_name.as_deref(), Solver::CLASSES)?;
        let class = found._class_name.as_deref().and_then(Solver::from_class);
        found.check_flow(&file, class)?;
        found.check_variations(&file)?;

        file.within("num_train_timesteps", found.num_train_timesteps, 1..=100_000)?;
        file.within("solver_order", found.solver_order, 1..=2)?;
        let solver_type = match found.solver_type.as_str() {
            "bh1" => UniPcBasis::Bh1,
            "bh2" => UniPcBasis::Bh2,
            other => return Err(file.unsupported("solver_type", "bh1 or bh2", other)),
        };
        let shifts = [("flow_shift", found.flow_shift), ("shift", found.shift)];
        let (field, shift) = match class {
            Some(Solver::Euler) => shifts.iter().rev().find_map(|&(field, shift)| Some((field, shift?))),
            _ => shifts.iter().find_map(|&(field, shift)| Some((field, shift?))),
        }
        .unwrap_or(("shift", 1.0));
        file.within_f64(field, shift, Self::SHIFT_RANGE)?;
        Ok(Self {
            class,
            num_train_timesteps: found.num_train_timesteps,
            shift,
            solver_order: found.solver_order,
            solver_type,
            disable_corrector: found.disable_corrector.unwrap_or_default(),
        })
    }
}

impl Document {
    /// UniPC's class is for noise prediction unless told otherwise; Euler's knows flows only.
    fn check_flow(&self, file: &ConfigFile, class: Option<Solver>) -> Result<()> {
        let uni_pc = class == Some(Solver::UniPc);
        if self.use_flow_sigmas == Some(false) || (uni_pc && self.use_flow_sigmas.is_none()) {
            return Err(file.unsupported("use_flow_sigmas", true, false));
        }
        match self.prediction_type.as_deref() {
            None if uni_pc => Err(file.unsupported("prediction_type", "flow_prediction", "epsilon")),
            Some(name) if name != "flow_prediction" => {
                Err(file.unsupported("prediction_type", "flow_prediction", name))
            }
            _ => Ok(()),
        }
    }

    fn check_variations(&self, file: &ConfigFile) -> Result<()> {
        for (field, value) in [
            ("thresholding", self.thresholding),
            ("use_karras_sigmas", self.use_karras_sigmas.unwrap_or(false)),
            ("use_exponential_sigmas", self.use_exponential_sigmas.unwrap_or(false)),
            ("use_beta_sigmas", self.use_beta_sigmas.unwrap_or(false)),
            ("use_dynamic_shifting", self.use_dynamic_shifting.unwrap_or(false)),
            ("stochastic_sampling", self.stochastic_sampling),
            ("invert_sigmas", self.invert_sigmas),
        ] {
            if value {
                return Err(file.unsupported(field, false, true));
            }
        }
        for (field, value) in [("predict_x0", self.predict_x0), ("lower_order_final", self.lower_order_final)]
        {
            if !value {
                return Err(file.unsupported(field, true, false));
            }
        }
        if self.final_sigmas_type != "zero" {
            return Err(file.unsupported("final_sigmas_type", "zero", &self.final_sigmas_type));
        }
        // As in diffusers, 0 is as good as null.
        if let Some(found) = self.shift_terminal.filter(|&terminal| terminal != 0.0) {
            return Err(file.unsupported("shift_terminal", "null", found));
        }
        file.null("solver_p", &self.solver_p)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{shipped, unsupported_field, with};
    use super::*;
    use serde_json::json;

    const PATH: &str = SchedulerConfig::PATH;

    #[test]
    fn shipped_model() {
        let found = SchedulerConfig::parse(PATH, &shipped(PATH)).unwrap();
        let expected = SchedulerConfig {
            class: Some(Solver::UniPc),
            num_train_timesteps: 1000,
            shift: 2.0,
            solver_order: 1,
            solver_type: UniPcBasis::Bh2,
            disable_corrector: vec![0, 1, 2, 3],
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn euler() {
        let json = br#"{"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0, "base_shift": 0.5}"#;
        let found = SchedulerConfig::parse(PATH, json).unwrap();
        assert_eq!((found.class, found.shift), (Some(Solver::Euler), 3.0));
    }

    #[test]
    fn each_class_reads_its_own_shift() {
        for (class, expected) in [("UniPCMultistepScheduler", 5.0), ("FlowMatchEulerDiscreteScheduler", 3.0)]
        {
            let json = json!({"_class_name": class, "shift": 3.0, "flow_shift": 5.0, "use_flow_sigmas": true,
                "prediction_type": "flow_prediction"});
            let found = SchedulerConfig::parse(PATH, json.to_string().as_bytes()).unwrap();
            assert_eq!(found.shift, expected);
        }
    }

    #[test]
    fn unsupported_settings() {
        for (field, value) in [
            ("use_flow_sigmas", json!(false)),
            ("use_flow_sigmas", json!(null)),
            ("prediction_type", json!("epsilon")),
            ("prediction_type", json!(null)),
            ("solver_order", json!(3)),
            ("solver_type", json!("heun")),
            ("solver_p", json!({"_class_name": "DDIMScheduler"})),
            ("predict_x0", json!(false)),
            ("lower_order_final", json!(false)),
            ("final_sigmas_type", json!("sigma_min")),
            ("shift_terminal", json!(0.02)),
            ("thresholding", json!(true)),
            ("use_karras_sigmas", json!(true)),
            ("use_exponential_sigmas", json!(true)),
            ("use_beta_sigmas", json!(true)),
            ("use_dynamic_shifting", json!(true)),
            ("stochastic_sampling", json!(true)),
            ("invert_sigmas", json!(true)),
            ("flow_shift", json!(0.0)),
            ("flow_shift", json!(1e9)),
            ("num_train_timesteps", json!(0)),
        ] {
            let result = SchedulerConfig::parse(PATH, &with(PATH, field, value));
            assert_eq!(unsupported_field(result), field);
        }
    }

    #[test]
    fn another_class() {
        let json = with(PATH, "_class_name", json!("DDIMScheduler"));
        assert_eq!(SchedulerConfig::parse(PATH, &json).unwrap_err().code(), "architecture_unknown");
    }
}
