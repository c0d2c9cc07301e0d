//! What the fuzz targets do with their bytes.

pub mod documents;
mod files;
pub mod shaped;
pub mod text;

pub use files::*;
