//! Every case, as data.

use std::collections::BTreeMap;

use super::attention::Attention;
use super::conv::Conv;
use super::gemm::{Gemm, ROWS, WIDTHS};
use super::model::{Part, RecordedModel, Sizes};
use super::operation::Operation;
use super::peak::Arithmetic;
use super::random::Format;
use super::report::CaseInfo;
use crate::Result;
use crate::config::published::Published;

/// A case and what it measures.
#[derive(Debug)]
pub struct Case {
    /// What it says of itself.
    pub info: CaseInfo,
    pub(super) work: Work,
}

/// What is measured.
#[derive(Debug)]
pub enum Work {
    /// Arithmetic alone.
    Peak(Arithmetic),
    /// One operation.
    Operation(Box<dyn Operation>),
    /// Part of a model, for a clip of this width, height and number of frames.
    Model(Sizes, Part, Option<[usize; 3]>),
}

/// All cases, in order.
///
/// # Errors
/// A clip that its model cannot make.
pub fn all() -> Result<Vec<Case>> {
    let peaks = Arithmetic::ALL.map(|arithmetic| Case {
        info: CaseInfo {
            id: format!("peak/{}", arithmetic.name()),
            suite: "peak",
            shape: BTreeMap::new(),
            format: Some(arithmetic.name()),
            flops: 0,
            quick: true,
        },
        work: Work::Peak(arithmetic),
    });
    let operations = gemms().chain(attentions()).chain(convs());
    let models = MODELS.into_iter().flat_map(|(name, sizes, clip)| {
        [Part::Pass, Part::Decode].map(|part| model(name, sizes, part, clip))
    });
    peaks.into_iter().chain(operations).map(Ok).chain(models).collect()
}

/// A case of one operation.
pub fn case(
    suite: &'static str,
    name: String,
    format: Option<Format>,
    quick: bool,
    operation: impl Operation + 'static,
) -> Case {
    Case {
        info: CaseInfo {
            id: format!("{suite}/{name}"),
            suite,
            shape: operation.shape().into_iter().collect(),
            format: format.map(Format::name),
            flops: operation.flops(),
            quick,
        },
        work: Work::Operation(Box::new(operation)),
    }
}

fn gemms() -> impl Iterator<Item = Case> {
    let sizes = WIDTHS.into_iter().flat_map(|width| ROWS.map(|rows| (rows, width)));
    sizes.flat_map(|(rows, [inputs, columns])| {
        Format::ALL.map(|format| {
            let quick = rows <= 1_560 && [inputs, columns] == WIDTHS[0];
            let name = format!("{rows}x{inputs}x{columns}/{}", format.name());
            case("gemm", name, Some(format), quick, Gemm { rows, inputs, columns, format })
        })
    })
}

fn attentions() -> impl Iterator<Item = Case> {
    // The embedded model's heads, and Wan 1.3B's; 64 is what many others have.
    let heads = [(4, 48), (12, 64), (12, 128)];
    let own = heads.into_iter().flat_map(|heads| ROWS.map(|tokens| (heads, tokens, tokens)));
    let cross = [((4, 48), 80), ((12, 128), 1_560), ((12, 128), 8_190), ((12, 128), 32_760)];
    let cross = cross.into_iter().map(|(heads, queries)| (heads, queries, 512));
    own.chain(cross).map(|((heads, d), queries, keys)| {
        let quick = queries <= 1_560;
        let name = format!("{heads}x{d}/{queries}x{keys}");
        case("attention", name, None, quick, Attention { heads, d, queries, keys })
    })
}

/// Channels in and out, height and width of the output, depth and width of the kernel, and whether frames are doubled first.
type Convolution = (usize, usize, usize, usize, usize, usize, bool);

/// Of the embedded model's decoder at 64x64.
const SMALL_CONVOLUTIONS: [Convolution; 4] = [
    (64, 64, 8, 8, 3, 3, false),
    (64, 64, 16, 16, 3, 3, false),
    (64, 32, 32, 32, 1, 3, true),
    (32, 32, 32, 32, 3, 3, false),
];

/// Of the Wan 2.1 VAE's decoder at 416x240 and at 832x480.
const WAN_CONVOLUTIONS: [Convolution; 11] = [
    (384, 384, 30, 52, 3, 3, false),
    (384, 384, 60, 104, 3, 3, false),
    (384, 192, 120, 208, 1, 3, true),
    (192, 384, 120, 208, 3, 3, false),
    (384, 384, 120, 208, 3, 3, false),
    (192, 192, 120, 208, 3, 3, false),
    (192, 192, 240, 416, 3, 3, false),
    (192, 96, 480, 832, 1, 3, true),
    (96, 96, 240, 416, 3, 3, false),
    (96, 96, 480, 832, 3, 3, false),
    (96, 3, 480, 832, 3, 3, false),
];

fn convs() -> impl Iterator<Item = Case> {
    let all = SMALL_CONVOLUTIONS.into_iter().chain(WAN_CONVOLUTIONS).enumerate();
    all.flat_map(|(index, (channels_in, channels_out, height, width, frames, kernel, upsample))| {
        [Format::F32, Format::F16].map(|format| {
            let quick = index <= SMALL_CONVOLUTIONS.len();
            let doubled = if upsample { " doubled" } else { "" };
            let name = format!("{channels_in}>{channels_out}@{width}x{height}{doubled}/{}", format.name());
            let conv = Conv { frames, kernel, channels_in, channels_out, height, width, upsample, format };
            case("conv", name, Some(format), quick, conv)
        })
    })
}

/// Wan 1.3B's at the least that looks like something, and at its own size.
const MODELS: [(&str, Sizes, Option<[usize; 3]>); 3] = [
    ("small", Sizes::Small, None),
    ("wan2.1-1.3b", Sizes::Of(Published::Wan21Small), Some([416, 240, 33])),
    ("wan2.1-1.3b", Sizes::Of(Published::Wan21Small), Some([832, 480, 81])),
];

/// A case of part of a model.
///
/// # Errors
/// A clip that the model cannot make.
pub fn model(name: &str, sizes: Sizes, part: Part, clip: Option<[usize; 3]>) -> Result<Case> {
    let recorded = RecordedModel::new(sizes, part, clip)?;
    let size = clip.map_or(String::new(), |[width, height, frames]| format!("/{width}x{height}x{frames}"));
    let [channels, latent_frames, height, width] = recorded.latents;
    Ok(Case {
        info: CaseInfo {
            id: format!("model/{name}{size}/{}", part.name()),
            suite: "model",
            shape: BTreeMap::from([
                ("channels", channels),
                ("latentFrames", latent_frames),
                ("latentHeight", height),
                ("latentWidth", width),
                ("frames", recorded.frames),
                ("tokens", recorded.tokens()),
            ]),
            format: Some(Format::F16.name()),
            flops: recorded.flops(),
            quick: sizes == Sizes::Small,
        },
        work: Work::Model(sizes, part, clip),
    })
}
