// Formula: an element of a quantised matrix is (quant + zero) * scale + offset.
// Layouts: [columns, depth] in sections of words (crate/src/quants.rs): signed quants, of 8 bits with QUANT8 and of 4
//   with QUANT4; from scales on scale and offset of each group of 1 << group_shift elements, as f16; from nests on,
//   where it is not 0, what those of 256 elements are multiplied with. The shader that includes this binds the words as
//   `weight`, with TEXELS as a storage texture, and gives quantised().
// Grid: any.
// Workgroup: no memory.

// Where the sections of the matrix are.
struct Quantised {
    columns: u32,
    depth: u32,
    scales: u32,
    nests: u32,
    group_shift: u32,
    zero: u32,
}

//#if TEXELS
// Four words of the matrix.
fn weight_words(i: u32) -> vec4<u32> {
    return textureLoad(weight, texel(i));
}
//#endif

// A word of the matrix.
fn weight_word(i: u32) -> u32 {
    //#if TEXELS
    return weight_words(i / 4u)[i % 4u];
    //#else
    return weight[i];
    //#endif
}

// Four columns at four neighbouring k of one group, as they are stored.
struct Block {
    quants: vec4<u32>,
    groups: Groups,
}

// Scale and offset of a group of each of four columns, as they are stored.
struct Groups {
    groups: vec4<u32>,
    nests: vec4<u32>,
}

// The same as numbers.
struct Scales {
    scale: vec4<f32>,
    offset: vec4<f32>,
}

// The word with the quants of the four elements from `element` on.
fn quant_word(element: u32) -> u32 {
    //#if QUANT8
    return weight_word(element / 4u);
    //#else
    // 32 elements are four words: 16 in the low halves of the bytes, then 16 in the high ones.
    return weight_word(element / 32u * 4u + element / 4u % 4u);
    //#endif
}

// Where the four columns from j on are at k; past the last of either they are the last.
fn elements(k: u32, j: u32) -> vec4<u32> {
    let depth = quantised().depth;
    let columns = min(vec4<u32>(j, j + 1u, j + 2u, j + 3u), vec4<u32>(quantised().columns - 1u));
    return columns * depth + min(k, depth - 4u);
}

fn load_quants(element: vec4<u32>) -> vec4<u32> {
    return vec4<u32>(
        quant_word(element.x), quant_word(element.y), quant_word(element.z), quant_word(element.w),
    );
}

//#if TEXELS
// A texel of each of four columns, with the quants of 16 neighbouring k (QUANT4: 32).
alias Packs = array<vec4<u32>, 4>;

fn load_pack(element: u32) -> vec4<u32> {
    //#if QUANT8
    return weight_words(element / 16u);
    //#else
    return weight_words(element / 32u);
    //#endif
}

fn load_packs(element: vec4<u32>) -> Packs {
    return Packs(load_pack(element.x), load_pack(element.y), load_pack(element.z), load_pack(element.w));
}

// By selection: an index that is not known is costly.
fn pack_word(pack: vec4<u32>, i: u32) -> u32 {
    return select(select(pack.x, pack.y, i == 1u), select(pack.z, pack.w, i == 3u), i > 1u);
}

// What load_quants reads at k, which is in these texels.
fn pack_quants(packs: Packs, k: u32) -> vec4<u32> {
    let i = k / 4u % 4u;
    return vec4<u32>(
        pack_word(packs[0], i), pack_word(packs[1], i), pack_word(packs[2], i), pack_word(packs[3], i),
    );
}
//#else
// Where sixteen neighbouring k of four columns begin.
alias Packs = vec4<u32>;

fn load_packs(element: vec4<u32>) -> Packs {
    return element;
}

fn pack_quants(packs: Packs, k: u32) -> vec4<u32> {
    return load_quants(packs + k % 16u);
}
//#endif

fn four_words(at: vec4<u32>) -> vec4<u32> {
    return vec4<u32>(weight_word(at.x), weight_word(at.y), weight_word(at.z), weight_word(at.w));
}

fn load_groups(element: vec4<u32>) -> Groups {
    let group = quantised().scales + (element >> vec4<u32>(quantised().group_shift));
    var groups: Groups;
    groups.groups = four_words(group);
    //#if TEXELS
    // A loop of one turn or none: a software adapter runs both sides of every branch.
    for (var once = 0u; once < min(quantised().nests, 1u); once++) {
        groups.nests = four_words(quantised().nests + element / 256u);
    }
    //#else
    if quantised().nests != 0u {
        groups.nests = four_words(quantised().nests + element / 256u);
    }
    //#endif
    return groups;
}

fn load_block(k: u32, j: u32) -> Block {
    let element = elements(k, j);
    return Block(load_quants(element), load_groups(element));
}

fn widen_groups(groups: Groups) -> Scales {
    var pairs = mat4x2<f32>(
        unpack2x16float(groups.groups.x),
        unpack2x16float(groups.groups.y),
        unpack2x16float(groups.groups.z),
        unpack2x16float(groups.groups.w),
    );
    if quantised().nests != 0u {
        pairs[0] *= unpack2x16float(groups.nests.x);
        pairs[1] *= unpack2x16float(groups.nests.y);
        pairs[2] *= unpack2x16float(groups.nests.z);
        pairs[3] *= unpack2x16float(groups.nests.w);
    }
    let rows = transpose(pairs);
    // (quant + zero) * scale + offset is quant * scale + (zero * scale + offset).
    return Scales(rows[0], fma(vec4<f32>(f32(quantised().zero)), rows[0], rows[1]));
}

// The four quants of a word, without their group's scale.
fn widen_word(word: u32, shift: u32) -> vec4<f32> {
    //#if QUANT8
    let bytes = vec4<u32>(word) << vec4<u32>(24u, 16u, 8u, 0u);
    let quants = vec4<f32>(bitcast<vec4<i32>>(bytes) >> vec4<u32>(24u));
    //#else
    let bytes = vec4<u32>(word << shift) << vec4<u32>(24u, 16u, 8u, 0u);
    let quants = vec4<f32>(bitcast<vec4<i32>>(bytes) >> vec4<u32>(28u));
    //#endif
    return quants;
}

// What load_quants read at k, a column of the matrix a k.
fn widen_quants(words: vec4<u32>, scales: Scales, k: u32) -> mat4x4<f32> {
    // Rows are whole blocks of 32, so that which half a k is in does not depend on the column. Past the last k, where a
    // is zero, it may be either.
    let shift = 4u - k / 16u % 2u * 4u;
    let quants = transpose(
        mat4x4<f32>(
            widen_word(words.x, shift),
            widen_word(words.y, shift),
            widen_word(words.z, shift),
            widen_word(words.w, shift),
        ),
    );
    return mat4x4<f32>(
        fma(quants[0], scales.scale, scales.offset),
        fma(quants[1], scales.scale, scales.offset),
        fma(quants[2], scales.scale, scales.offset),
        fma(quants[3], scales.scale, scales.offset),
    );
}

fn widen_block(block: Block, k: u32) -> mat4x4<f32> {
    return widen_quants(block.quants, widen_groups(block.groups), k);
}
