use std::collections::HashSet;

use proptest::prelude::*;

use super::texels::Rows;
use super::*;
use crate::ops::{Affine, ConvOptions, ConvWeight, NormKind};
use crate::recording::Recorder;
use crate::tensor::DType;

/// A recording of random element-wise operations: each step names an operation, which earlier tensors it reads, and how
/// many rows of them.
fn record(steps: &[(u8, usize, usize, usize)]) -> Recording {
    let mut recorder = Recorder::new();
    let weights = Tensor::resident(DType::F32, &[8]);
    let mut known = vec![Tensor::resident(DType::F32, &[300, 7]), Tensor::resident(DType::F32, &[40, 13])];
    for (kind, a, b, rows) in steps {
        let x = known[a % known.len()].clone();
        let count = 1 + rows % x.shape()[0];
        let view = x.rows((b * 3) % (x.shape()[0] - count + 1), count).unwrap();
        let made = match kind % 5 {
            0 => recorder.silu(&view).unwrap(),
            1 => recorder.transpose(&view).unwrap(),
            2 => recorder.norm(&view, NormKind::Channel, Affine::None, true).unwrap(),
            3 => recorder.combination(&[&view, &view], &weights, 1).unwrap(),
            _ => {
                // Written in two parts, and alive in between.
                let out = Tensor::temporary(&[count + 5, view.shape()[1]]);
                recorder.copy(&view, &out.rows(0, count).unwrap()).unwrap();
                let rest = x.rows(0, 5.min(x.shape()[0])).unwrap();
                recorder.copy(&rest, &out.rows(count, rest.shape()[0]).unwrap()).unwrap();
                out
            }
        };
        known.push(made);
    }
    recorder.finish()
}

/// Index of the first and the last operation that touches each temporary.
fn lives(recording: &Recording) -> HashMap<u64, (usize, usize)> {
    let mut lives = HashMap::new();
    for (index, op) in recording.ops().iter().enumerate() {
        for tensor in op.inputs().into_iter().chain([op.output()]) {
            if tensor.lifetime() == Lifetime::Temporary {
                lives.entry(tensor.id()).or_insert((index, index)).1 = index;
            }
        }
    }
    lives
}

proptest! {
    #[test]
    fn places_do_not_overlap_and_bindings_stay_inside(
        steps in prop::collection::vec((any::<u8>(), 0..99_usize, 0..99_usize, 0..400_usize), 1..40),
        binding in 10..64_u64,
        (barrier_free, quads, texels) in any::<(bool, bool, bool)>(),
    ) {
        let limits = Limits {
            max_binding: binding * 256,
            max_buffer: 1 << 20,
            max_dispatch_flops: 50_000,
            barrier_free,
            quads,
            texel_flops: if texels { 0 } else { u64::MAX },
            ..Limits::GUARANTEED
        };
        let recording = record(&steps);
        let plan = Plan::new(&recording, &limits).unwrap();
        let lives = lives(&recording);

        for (a, life_a) in &lives {
            for (b, life_b) in &lives {
                let together = life_a.0 <= life_b.1 && life_b.0 <= life_a.1;
                prop_assert!(a == b || !together || plan.place[a] != plan.place[b], "{life_a:?} {life_b:?}");
            }
        }
        let textures = plan.textures.iter().map(|(_, bytes)| bytes);
        prop_assert_eq!(plan.temporary_bytes, plan.buffers.iter().chain(textures).sum::<u64>());
        prop_assert_eq!(plan.resident_bytes, plan.residents.iter().map(buffer_bytes).sum::<u64>());
        let ids: HashSet<_> = plan.residents.iter().map(Tensor::id).collect();
        prop_assert_eq!(ids.len(), plan.residents.len());

        let mut largest = 0;
        for dispatch in &plan.dispatches {
            dispatch.check(&limits).unwrap();
            for binding in &dispatch.bindings {
                let (bytes, base) = binding.place(&limits);
                let buffer = match binding.tensor.lifetime() {
                    Lifetime::Temporary => plan.buffers[plan.place[&binding.tensor.id()]],
                    Lifetime::Resident => buffer_bytes(&binding.tensor),
                };
                prop_assert!(bytes.end <= buffer && bytes.end - bytes.start <= limits.max_binding);
                prop_assert_eq!(bytes.start % limits.offset_alignment, 0);
                prop_assert_eq!(bytes.start + u64::from(base) * 4, binding.first_element() as u64 * 4);
                largest = largest.max(bytes.end - bytes.start);
            }
        }
        prop_assert_eq!(plan.largest_binding, largest);
        prop_assert_eq!(plan.dispatches.len(), plan.uniforms.len());
    }
}

#[test]
fn a_chain_needs_two_buffers() {
    let mut recorder = Recorder::new();
    let mut x = Tensor::resident(DType::F32, &[1000]);
    for _ in 0..10 {
        x = recorder.silu(&x).unwrap();
    }
    let plan = Plan::new(&recorder.finish(), &Limits::GUARANTEED).unwrap();
    assert_eq!(plan.buffers, [4000, 4000]);
    assert_eq!((plan.temporary_bytes, plan.resident_bytes), (8000, 4000));
    assert_eq!((plan.largest_binding, plan.uniform_bytes, plan.dispatches.len()), (4000, 2560, 10));
}

#[test]
fn temporaries_of_one_operation_are_apart_from_all_it_touches_and_end_with_it() {
    let limits = Limits { winograd_channels: 0, ..Limits::GUARANTEED };
    let mut recorder = Recorder::new();
    let matrix = Tensor::resident(DType::F32, &[9 * 16, 16]);
    let weight = ConvWeight { matrix, channels_in: 16, channels_out: 16, kernel: [1, 3, 3] };
    let mut x = Tensor::resident(DType::F32, &[9, 8, 16]);
    for _ in 0..4 {
        x = recorder.conv(&[Some(&x)], &weight, None, ConvOptions::same(3), None).unwrap();
    }
    let plan = Plan::new(&recorder.finish(), &limits).unwrap();
    // Weight, frame and products of the transforms, and an input and an output.
    assert_eq!((plan.ends.as_slice(), plan.buffers.len()), (&[4, 8, 12, 16][..], 5));
    for dispatches in plan.dispatches.chunks(4) {
        let bound = dispatches.iter().flat_map(|dispatch| &dispatch.bindings);
        let ids: HashSet<_> = bound.map(|binding| binding.tensor.id()).collect();
        let places: HashSet<_> = ids.iter().filter_map(|id| plan.place.get(id)).collect();
        let residents = ids.iter().filter(|id| !plan.place.contains_key(id)).count();
        assert_eq!(places.len() + residents, ids.len());
    }
}

#[test]
fn the_largest_free_buffer_grows_before_a_new_one_is_made() {
    let mut recorder = Recorder::new();
    let small = Tensor::resident(DType::F32, &[4, 100]);
    let large = Tensor::resident(DType::F32, &[1000]);
    let first = recorder.silu(&small).unwrap();
    recorder.silu(&first).unwrap();
    recorder.silu(&large).unwrap();
    let plan = Plan::new(&recorder.finish(), &Limits::GUARANTEED).unwrap();
    assert_eq!(plan.temporary_bytes, 4000 + 1600);
}

#[test]
fn what_cannot_fit_is_an_error_with_its_size() {
    let limits = Limits { max_buffer: 4096, ..Limits::GUARANTEED };
    let mut recorder = Recorder::new();
    recorder.silu(&Tensor::resident(DType::F32, &[1025])).unwrap();
    let error = Plan::new(&recorder.finish(), &limits).unwrap_err();
    assert!(
        matches!(&error, Error::DeviceTooSmall { needed: 4112, allowed: 4096, what } if what.contains("1025")),
        "{error}"
    );

    // A row that no split brings under the binding limit.
    let limits = Limits { max_binding: 1024, ..Limits::GUARANTEED };
    let mut recorder = Recorder::new();
    recorder.softmax(&Tensor::resident(DType::F32, &[3, 400]), 1.0).unwrap();
    let error = Plan::new(&recorder.finish(), &limits).unwrap_err();
    assert_eq!(error.code(), "device_too_small");
}

#[test]
fn a_dispatch_that_disagrees_with_its_shader_is_refused() {
    let limits = Limits::GUARANTEED;
    let mut recorder = Recorder::new();
    let x = Tensor::resident(DType::F32, &[10]);
    let out = recorder.silu(&x).unwrap();
    let good = lower(&recorder.finish().ops()[0], &limits).unwrap().remove(0);
    assert!(good.check(&limits).is_ok());
    let spoil: [fn(&mut Dispatch); 10] = [
        |d| d.bindings.reverse(),
        |d| d.bindings[0].writable = true,
        |d| d.bindings[0].texels = Some(Rows::whole(10)),
        |d| drop(d.bindings.pop()),
        |d| d.params.extend([0; 4]),
        |d| d.params.clear(),
        |d| d.grid[1] = 0,
        |d| d.grid[0] = 65_536,
        |d| d.kernel.flags.push("SERIAL"),
        |d| d.bindings[0].elements.end = 11,
    ];
    for (index, spoil) in spoil.iter().enumerate() {
        let mut bad = good.clone();
        spoil(&mut bad);
        assert_eq!(bad.check(&limits).unwrap_err().code(), "device_error", "{index}");
    }
    let mut aliased = good.clone();
    aliased.bindings[0].tensor = out;
    assert_eq!(aliased.check(&limits).unwrap_err().code(), "device_error");
    let small = Limits { max_binding: 32, ..limits };
    assert_eq!(good.check(&small).unwrap_err().code(), "device_too_small");
}
