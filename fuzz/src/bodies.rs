//! What the fuzz targets do with their bytes.

mod files;
pub mod text;

pub use files::*;
