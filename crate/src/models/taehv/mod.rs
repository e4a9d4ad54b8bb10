//! TAEHV, the tiny video autoencoder (`taehv.py` of madebyollin/taehv): `taew2_1` for Wan 2.1's latents, `taew2_2` for Wan 2.2's.
//!
//! Plain 2-D convolutions with ReLU. What a frame knows of those before it comes through the blocks' memory, each block's input
//! of one frame ago. It takes and gives the latents as the transformer sees them, and colours in 0..1.
//!
//! Fields are named by what they are: the checkpoint numbers the layers of encoder and decoder through, those without parameters
//! included, and the numbers are in the constructors.

mod blocks;
mod decoder;
mod encoder;

pub use decoder::TaehvDecoder;
pub use encoder::TaehvEncoder;
