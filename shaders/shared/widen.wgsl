// Formula: four neighbouring elements of a weight as numbers.
// Layouts: f32, or with HALF f16 and with BFLOAT bf16, two to a word. With TEXELS f16 is widened already, and of bf16
//   each has its word.
// Grid: any.
// Workgroup: no memory.

// Four columns of the weight as they are stored.
//#if TEXELS
//#if BFLOAT
alias Words = vec4<u32>;
//#else
alias Words = vec4<f32>;
//#endif
//#else
//#if HALF|BFLOAT
alias Words = vec2<u32>;
//#else
alias Words = vec4<f32>;
//#endif
//#endif

fn widen(words: Words) -> vec4<f32> {
    //#if TEXELS
    //#if BFLOAT
    return bitcast<vec4<f32>>(words << vec4<u32>(16u));
    //#else
    return words;
    //#endif
    //#else
    //#if HALF
    return vec4<f32>(unpack2x16float(words.x), unpack2x16float(words.y));
    //#else
    //#if BFLOAT
    let bits = vec4<u32>(words.x << 16u, words.x & 0xffff0000u, words.y << 16u, words.y & 0xffff0000u);
    return bitcast<vec4<f32>>(bits);
    //#else
    return words;
    //#endif
    //#endif
    //#endif
}
