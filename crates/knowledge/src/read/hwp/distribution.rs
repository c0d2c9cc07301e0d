//! Sections of documents "for distribution", which Hangul shows but does not let be changed.
//!
//! The key lies in the stream itself, under a mask (Hancom, "Document for distribution", revision 1.2): this keeps
//! nobody out, so such documents are read like any other.

use aes::Aes128;
use aes::cipher::{Block, BlockCipherDecrypt as _, KeyInit as _};

/// Tag and size of the record that the stream begins with.
const TAG_DISTRIBUTION: u32 = 0x1C;
const DATA_BYTES: usize = 256;
const HEAD_BYTES: usize = 4;
const KEY_BYTES: usize = 16;

/// What follows the first record, in plain; `None` if the stream does not begin as it should.
pub(super) fn decrypt(stream: &[u8]) -> Option<Vec<u8>> {
    let (head, rest) = stream.split_first_chunk::<HEAD_BYTES>()?;
    let head = u32::from_le_bytes(*head);
    if head & 0x3FF != TAG_DISTRIBUTION || head >> 20 != DATA_BYTES as u32 {
        return None;
    }
    let (data, body) = rest.split_first_chunk::<DATA_BYTES>()?;
    let cipher = Aes128::new(&key(data)?.into());
    let mut plain = Vec::with_capacity(body.len());
    for block in body.as_chunks::<KEY_BYTES>().0 {
        let mut block = Block::<Aes128>::from(*block);
        cipher.decrypt_block(&mut block);
        plain.extend_from_slice(&block);
    }
    Some(plain)
}

fn key(data: &[u8; DATA_BYTES]) -> Option<[u8; KEY_BYTES]> {
    let seed = u32::from_le_bytes([data[0], data[1], data[2], data[3]]);
    let masked = unmask(data, seed);
    let at = HEAD_BYTES + (seed & 0xF) as usize;
    masked.get(at..)?.first_chunk().copied()
}

/// Takes the mask off: runs of one random byte each, from the generator of Microsoft's C library.
fn unmask(data: &[u8; DATA_BYTES], seed: u32) -> [u8; DATA_BYTES] {
    let mut state = seed;
    let mut random = || {
        state = state.wrapping_mul(214_013).wrapping_add(2_531_011);
        state >> 16 & 0x7FFF
    };
    let mut out = *data;
    let (mut mask, mut left) = (0, 0);
    for (at, byte) in out.iter_mut().enumerate() {
        if left == 0 {
            mask = (random() & 0xFF) as u8;
            left = (random() & 0xF) + 1;
        }
        if at >= HEAD_BYTES {
            *byte ^= mask;
        }
        left -= 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use aes::cipher::BlockCipherEncrypt as _;

    use super::*;

    /// The mask is its own inverse, so a stream can be made as it is read.
    fn encrypted(seed: u32, key: [u8; KEY_BYTES], plain: &[u8]) -> Vec<u8> {
        let mut data = [0; DATA_BYTES];
        data[..4].copy_from_slice(&seed.to_le_bytes());
        let at = HEAD_BYTES + (seed & 0xF) as usize;
        data[at..at + KEY_BYTES].copy_from_slice(&key);
        let masked = unmask(&data, seed);
        let head = TAG_DISTRIBUTION | (DATA_BYTES as u32) << 20;
        let mut out = [&head.to_le_bytes(), masked.as_slice()].concat();
        let cipher = Aes128::new(&key.into());
        for block in plain.as_chunks::<KEY_BYTES>().0 {
            let mut block = Block::<Aes128>::from(*block);
            cipher.encrypt_block(&mut block);
            out.extend_from_slice(&block);
        }
        out
    }

    #[test]
    fn what_was_masked_and_encrypted_comes_back() {
        for seed in [0, 7, 15, 0xDEAD_BEEF] {
            let plain = [b"sixteen bytes of".as_slice(), b"text, and others"].concat();
            let stream = encrypted(seed, *b"0123456789abcdef", &plain);
            assert_eq!(decrypt(&stream).as_deref(), Some(plain.as_slice()), "seed {seed}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for stream in [&b""[..], b"abc", &[0x1C; 3], &[0xFF; 400]] {
            assert_eq!(decrypt(stream), None);
        }
        let short = encrypted(1, [1; KEY_BYTES], b"")[..100].to_vec();
        assert_eq!(decrypt(&short), None);
    }
}
