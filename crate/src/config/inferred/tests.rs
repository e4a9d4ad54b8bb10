use super::*;
use crate::config::{
    GenerationDefaults, ModelIndex, SchedulerConfig, Umt5Config, WanTransformerConfig, WanVaeConfig,
};
use crate::models::umt5::Umt5Encoder;
use crate::models::wan::{VaeDecoder, VaeEncoder, WanTransformer};
use crate::weights::source::{FolderSource, read_all};
use crate::weights::{Checkpoint, Container, FileDtype, MetaValue, Metadata, Scope, TensorLocation, Weights};
use pollster::block_on;
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeMap;
use std::rc::Rc;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

type Shapes = BTreeMap<String, Vec<usize>>;

/// A file with tensors of these shapes and this metadata, of which there is only the header.
fn component(folder: &str, shapes: &Shapes, metadata: &[(&str, MetaValue)]) -> Component {
    let place = |shape: &Vec<usize>| TensorLocation {
        path: format!("{folder}/model.gguf"),
        range: 0..0,
        dtype: FileDtype::F16,
        shape: shape.clone(),
    };
    let tensors = shapes.iter().map(|(key, shape)| (key.clone(), place(shape))).collect();
    let metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    Component::new(folder, format!("{folder}/model.gguf"), Container::Gguf(3), tensors, Metadata(metadata))
}

/// A published model's config and shapes; see tests/golden/shapes.py.
fn published(name: &str) -> (Value, Shapes) {
    let golden = std::fs::read(format!("{ROOT}/tests/golden/shapes.json")).unwrap();
    let golden: BTreeMap<String, Value> = serde_json::from_slice(&golden).unwrap();
    let model = &golden[name];
    let repeats = model["repeats"].as_u64().unwrap();
    let mut shapes = Shapes::new();
    for (key, shape) in model["tensors"].as_object().unwrap() {
        let shape: Vec<usize> = serde_json::from_value(shape.clone()).unwrap();
        match key.split_once('*') {
            None => drop(shapes.insert(key.clone(), shape)),
            Some((before, after)) => {
                shapes.extend((0..repeats).map(|i| (format!("{before}{i}{after}"), shape.clone())))
            }
        }
    }
    (model["config"].clone(), shapes)
}

/// Whether the models find all their tensors with the shapes that the config asks for.
fn builds(component: &Component) -> Result<()> {
    let scope = || Scope::new(Rc::new(Checkpoint::Files(component.clone())), Weights::new());
    match component.folder() {
        "transformer" => WanTransformer::new(&scope(), &WanTransformerConfig::infer(component)?).map(drop),
        "text_encoder" => Umt5Encoder::new(&scope(), &Umt5Config::infer(component)?).map(drop),
        _ => {
            let config = WanVaeConfig::infer(component)?;
            VaeEncoder::new(&scope(), &config)?;
            VaeDecoder::new(&scope(), &config).map(drop)
        }
    }
}

#[test]
fn published_models_are_known_by_their_shapes() {
    for name in ["wan2.1-1.3b", "wan2.1-14b", "wan2.2-ti2v-5b"] {
        let (config, shapes) = published(name);
        let found = component("transformer", &shapes, &[]);
        let expected = WanTransformerConfig::parse("c", config.to_string().as_bytes()).unwrap();
        assert_eq!(WanTransformerConfig::infer(&found).unwrap(), expected, "{name}");
        builds(&found).unwrap();
    }
    let (config, shapes) = published("umt5-xxl");
    let found = component("text_encoder", &shapes, &[]);
    let expected = Umt5Config::parse("c", config.to_string().as_bytes()).unwrap();
    assert_eq!(Umt5Config::infer(&found).unwrap(), expected);
    builds(&found).unwrap();

    let (_, shapes) = published("vae2.1");
    let found = component("vae", &shapes, &[]);
    // Means and deviations too: the defaults of AutoencoderKLWan.
    assert_eq!(WanVaeConfig::infer(&found).unwrap(), WanVaeConfig::default());
    builds(&found).unwrap();
    let (mut config, shapes) = published("vae2.2");
    let found = component("vae", &shapes, &[]);
    let inferred = WanVaeConfig::infer(&found).unwrap();
    config["latents_mean"] = json!(inferred.latents_mean);
    config["latents_std"] = json!(inferred.latents_std);
    assert_eq!(inferred, WanVaeConfig::parse("c", config.to_string().as_bytes()).unwrap());
    assert_eq!((inferred.latents_mean.len(), inferred.latents_std.len()), (48, 48));
    builds(&found).unwrap();
}

#[test]
fn what_goes_with_a_transformer() {
    let of = |name| WanTransformerConfig::infer(&component("transformer", &published(name).1, &[])).unwrap();
    let (small, ti2v) = (of("wan2.1-1.3b"), of("wan2.2-ti2v-5b"));
    assert!(!ModelIndex::infer(&small).expand_timesteps && ModelIndex::infer(&ti2v).expand_timesteps);
    assert_eq!((SchedulerConfig::infer(&small).shift, SchedulerConfig::infer(&ti2v).shift), (3.0, 5.0));
    assert_eq!(GenerationDefaults::infer(&small), GenerationDefaults::default());
    let GenerationDefaults { width, height, frames, fps, .. } = GenerationDefaults::infer(&ti2v);
    assert_eq!((width, height, frames, fps), (1280, 704, 121, 24.0));
    // What it is taken to be passes the checks of a scheduler_config.json.
    let json = json!({"_class_name": "UniPCMultistepScheduler", "flow_shift": 3.0, "use_flow_sigmas": true,
        "prediction_type": "flow_prediction"});
    let parsed = SchedulerConfig::parse("c", json.to_string().as_bytes()).unwrap();
    assert_eq!(SchedulerConfig::infer(&small), parsed);
}

/// The tiny pipelines' configs, but for what no shape says, which is taken from the config.json as a file's metadata would say it: how wide a
/// head is where it is not 128, the rotary table's length and the largest distance where they are not the published models', and
/// the statistics of latents.
#[test]
fn tiny_pipelines() {
    fn shapes(source: &FolderSource, folder: &str) -> Shapes {
        let found = block_on(Component::open(source, folder, &["diffusion_pytorch_model", "model"])).unwrap();
        found.iter().map(|(key, location)| (key.to_owned(), location.shape.clone())).collect()
    }
    fn said(config: &[u8], class: &str, fields: &[&str]) -> [(&'static str, MetaValue); 1] {
        let config: Value = serde_json::from_slice(config).unwrap();
        let mut said = json!({"_class_name": class});
        fields.iter().for_each(|field| said[*field] = config[*field].clone());
        [("config", MetaValue::Text(said.to_string()))]
    }
    for folder in [
        "tests/golden/wan21/pipeline",
        "tests/golden/wan22/pipeline",
        "tests/golden/odd/pipeline",
        "tests/golden/head128/pipeline",
        "models/small",
    ] {
        let source = FolderSource::new(format!("{ROOT}/{folder}"));
        let config = |path| block_on(read_all(&source, path, 1 << 20)).unwrap();

        let json = config(WanTransformerConfig::PATH);
        let expected = WanTransformerConfig::parse("c", &json).unwrap();
        let tensors = shapes(&source, "transformer");
        let said_head =
            if expected.inner_dim().is_multiple_of(128) { vec![] } else { vec!["attention_head_dim"] };
        let fields = [&said_head[..], &["rope_max_seq_len"]].concat();
        let metadata = said(&json, "WanTransformer3DModel", &fields);
        let found = component("transformer", &tensors, &metadata);
        assert_eq!(WanTransformerConfig::infer(&found).unwrap(), expected, "{folder}");
        builds(&found).unwrap();
        // Ggml says it so, by either of two keys.
        for (key, value) in [
            ("wan.attention.key_length", expected.attention_head_dim),
            ("wan.attention.head_count", expected.num_attention_heads),
        ] {
            let metadata = [
                ("general.architecture", MetaValue::Text("wan".to_owned())),
                (key, MetaValue::Integer(value as i128)),
            ];
            let inferred =
                WanTransformerConfig::infer(&component("transformer", &tensors, &metadata)).unwrap();
            assert_eq!(inferred.attention_head_dim, expected.attention_head_dim, "{folder}: {key}");
        }
        let unsaid = WanTransformerConfig::infer(&component("transformer", &tensors, &[]));
        assert_eq!(unsaid.is_ok(), said_head.is_empty(), "{folder}");

        let json = config(WanVaeConfig::PATH);
        let expected = WanVaeConfig::parse("c", &json).unwrap();
        let tensors = shapes(&source, "vae");
        let found =
            component("vae", &tensors, &said(&json, "AutoencoderKLWan", &["latents_mean", "latents_std"]));
        assert_eq!(WanVaeConfig::infer(&found).unwrap(), expected, "{folder}");
        builds(&found).unwrap();
        let unsaid = WanVaeConfig::infer(&component("vae", &tensors, &[]));
        match expected.z_dim {
            16 => assert_eq!(unsaid.unwrap().latents_mean, WanVaeConfig::default().latents_mean),
            _ => assert!(unsaid.unwrap_err().to_string().contains("latents_mean"), "{folder}"),
        }

        let json = config(Umt5Config::PATH);
        let expected = Umt5Config::parse("c", &json).unwrap();
        let mut metadata = said(&json, "", &["relative_attention_max_distance", "model_type"]).to_vec();
        metadata.push(("general.architecture", MetaValue::Text("t5encoder".to_owned())));
        let epsilon = MetaValue::Float(1e-6);
        metadata.push(("t5encoder.attention.layer_norm_rms_epsilon", epsilon));
        let found = component("text_encoder", &shapes(&source, "text_encoder"), &metadata);
        assert_eq!(Umt5Config::infer(&found).unwrap(), expected, "{folder}");
        builds(&found).unwrap();
    }
}

#[test]
fn configs_in_the_metadata_of_several_components() {
    let (_, shapes) = published("wan2.1-1.3b");
    let text = json!({"transformer": {"rope_max_seq_len": 512}, "vae": {"z_dim": 1}}).to_string();
    let inferred =
        WanTransformerConfig::infer(&component("transformer", &shapes, &[("config", MetaValue::Text(text))]));
    assert_eq!(inferred.unwrap().rope_max_seq_len, 512);
    // What is no config of a component is nobody's.
    for text in ["{\"num_layers\": 3}", "[]", "no JSON"] {
        let found = component("transformer", &shapes, &[("config", MetaValue::Text(text.to_owned()))]);
        assert_eq!(WanTransformerConfig::infer(&found).unwrap().num_layers, 30);
    }
    let text = json!({"_class_name": "FluxTransformer2DModel"}).to_string();
    let other =
        WanTransformerConfig::infer(&component("transformer", &shapes, &[("config", MetaValue::Text(text))]));
    assert_eq!(other.unwrap_err().code(), "architecture_unknown");
}

#[test]
fn other_models_are_named() {
    let transformer = published("wan2.1-1.3b").1;
    let with = |key: &str, shape: &[usize]| {
        let mut shapes = transformer.clone();
        shapes.insert(key.to_owned(), shape.to_vec());
        builds(&component("transformer", &shapes, &[])).unwrap_err()
    };
    for (key, what) in [
        ("condition_embedder.image_embedder.norm1.weight", "image-to-video"),
        ("blocks.3.attn2.add_k_proj.weight", "image-to-video"),
        ("vace_blocks.0.proj_in.weight", "VACE"),
    ] {
        let error = with(key, &[1536, 1536]);
        assert_eq!(error.code(), "architecture_unknown");
        assert!(error.to_string().contains(what) && error.to_string().contains(key), "{error}");
    }
    assert!(
        with("patch_embedding.weight", &[1536, 64])
            .to_string()
            .contains("patch_embedding.weight of the shape [1536, 64]")
    );
    assert!(with("proj_out.weight", &[65, 1536]).to_string().contains("proj_out.weight"));
    // A block more than are there, and one that is another's.
    assert_eq!(with("blocks.30.norm2.weight", &[1536]).code(), "tensor_missing");
    assert!(with("blocks.7.ffn.net.2.weight", &[1536, 64]).to_string().contains("expected [1536, 8960]"));

    let code = |folder: &str, shapes: &Shapes| builds(&component(folder, shapes, &[])).unwrap_err();
    let error = code("vae", &transformer).to_string();
    assert!(error.contains("vae/model.gguf has a Wan transformer; supported is a Wan VAE"), "{error}");
    let stranger = BTreeMap::from([("model.layers.0.self_attn.q_proj.weight".to_owned(), vec![4, 4])]);
    assert_eq!(code("text_encoder", &stranger).code(), "architecture_unknown");
    let tiny = BTreeMap::from([("decoder.1.weight".to_owned(), vec![256, 16, 3, 3])]);
    assert!(code("vae", &tiny).to_string().contains("encoder.0.weight"));
    // T5 has one table of position biases.
    let mut umt5 = published("umt5-xxl").1;
    umt5.remove("encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight");
    assert_eq!(code("text_encoder", &umt5).code(), "tensor_missing");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever names are gone or changed and whatever shapes are: an error, or a config that the model is built from.
    #[test]
    fn mutated_headers(
        model in 0..4usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..5u8, any::<u16>(), "[a-z.0-9]{0,12}"), 1..12),
        extents in prop::collection::vec(prop_oneof![0..70usize, any::<usize>()], 0..6),
    ) {
        let (folder, name) = [("transformer", "wan2.1-1.3b"), ("text_encoder", "umt5-xxl"), ("vae", "vae2.1"), ("vae", "vae2.2")][model];
        let mut shapes = published(name).1;
        for (at, change, number, text) in changes {
            // The first ones by name, and those that sizes are read from, more often than a random one of hundreds would be.
            let Some(key) = shapes.keys().nth(at.index(shapes.len())).cloned() else { break };
            let shape = shapes.remove(&key).unwrap_or_default();
            match change {
                0 => {}
                1 => drop(shapes.insert(format!("{text}{key}"), shape)),
                2 => drop(shapes.insert(key.replace(|c: char| c.is_ascii_digit(), &number.to_string()), shape)),
                3 => drop(shapes.insert(key, extents.clone())),
                _ => {
                    for wanted in ["patch_embedding.weight", "proj_out.weight", "shared.weight", "decoder.conv_out.weight",
                        "encoder.conv_in.weight", "post_quant_conv.weight", "decoder.norm_out.gamma"] {
                        if let Some(shape) = shapes.get_mut(wanted) {
                            let at = at.index(shape.len().max(1));
                            shape.iter_mut().skip(at).take(1).for_each(|extent| *extent = number.into());
                        }
                    }
                    shapes.insert(key, shape);
                }
            }
        }
        let _ = builds(&component(folder, &shapes, &[]));
    }
}
