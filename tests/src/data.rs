//! A tiny data set in the format of Fashion-MNIST, so that tests with the trainer need no real data.

use std::io::Write;
use std::path::Path;

use anyhow::Result;

/// Writes the four IDX files with `train` and `test` images of 8 x 8 pixels in two classes: a bright left
/// half and a bright right half, with a little pattern of their own. Easy to learn in one epoch.
///
/// # Errors
/// The files cannot be written.
pub fn write_tiny_idx(folder: &Path, train: u32, test: u32) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    for (split, count) in [("train", train), ("t10k", test)] {
        let mut images = Vec::new();
        let mut labels = Vec::new();
        for index in 0..count {
            let class = index % 2;
            labels.push(u8::try_from(class)?);
            for pixel in 0..64_u32 {
                let bright = (pixel % 8 < 4) == (class == 0);
                let pattern = (index * 31 + pixel * 7) % 64;
                images.push(u8::try_from(pattern + if bright { 160 } else { 0 })?);
            }
        }
        write_idx(
            &folder.join(format!("{split}-images-idx3-ubyte")),
            &[count, 8, 8],
            &images,
        )?;
        write_idx(
            &folder.join(format!("{split}-labels-idx1-ubyte")),
            &[count],
            &labels,
        )?;
    }
    Ok(())
}

fn write_idx(path: &Path, sizes: &[u32], bytes: &[u8]) -> Result<()> {
    let mut file = std::fs::File::create(path)?;
    // Two zero bytes, type 8 (unsigned byte), number of dimensions.
    file.write_all(&[0, 0, 8, u8::try_from(sizes.len())?])?;
    for size in sizes {
        file.write_all(&size.to_be_bytes())?;
    }
    file.write_all(bytes)?;
    Ok(())
}
