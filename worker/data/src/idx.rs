//! The header of an IDX file: two zero bytes, the element type, the number of dimensions, then every
//! dimension as a big-endian 32-bit number. Only unsigned bytes occur in the MNIST family.

use std::io::Read;

/// The largest file that is taken: far above any data set of this family, so that a wrong file is
/// refused before it is read.
pub const MAX_FILE_BYTES: u64 = 16 << 30;
/// The most examples: the table of a split has four bytes for each.
pub const MAX_EXAMPLES: u64 = 100_000_000;
/// The largest example, in bytes: one is held in memory at a time.
pub const MAX_EXAMPLE_BYTES: u64 = 16 << 20;

/// The IDX code of unsigned bytes.
const UNSIGNED_BYTE: u8 = 0x08;
/// Images have three dimensions; a fourth would be an order of channels that the format does not fix.
const MAX_DIMENSIONS: u8 = 3;

/// What the header of an IDX file of unsigned bytes says. The number of examples and the size of one
/// are within bounds, and neither is zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdxHeader {
    /// The header as it was read.
    bytes: Vec<u8>,
    dimensions: Vec<u64>,
}

impl IdxHeader {
    /// Reads and checks a header.
    ///
    /// # Errors
    /// One line that says what is wrong.
    pub fn read(from: &mut impl Read) -> Result<Self, String> {
        let mut bytes = read_exactly(from, 4)?;
        let &[zero, zero_too, kind, count] = bytes.as_slice() else {
            return Err("its header is incomplete".to_owned());
        };
        if (zero, zero_too) != (0, 0) {
            return Err(format!(
                "it does not start with two zero bytes as an IDX file does, but with {zero:#04x} {zero_too:#04x}"
            ));
        }
        if kind != UNSIGNED_BYTE {
            return Err(format!(
                "its elements have the IDX type {kind:#04x}, and only unsigned bytes ({UNSIGNED_BYTE:#04x}) are read"
            ));
        }
        if count == 0 || count > MAX_DIMENSIONS {
            return Err(format!(
                "it has {count} dimensions, and 1 (labels) to {MAX_DIMENSIONS} (grey images) are read"
            ));
        }
        let sizes = read_exactly(from, usize::from(count) * 4)?;
        let dimensions = sizes
            .chunks_exact(4)
            .map(|chunk| {
                chunk
                    .iter()
                    .fold(0, |number, &byte| (number << 8) | u64::from(byte))
            })
            .collect();
        bytes.extend(sizes);
        let header = Self { bytes, dimensions };
        header.check().map(|()| header)
    }

    fn check(&self) -> Result<(), String> {
        if self.dimensions.contains(&0) {
            return Err(format!("a dimension is zero in {:?}", self.dimensions));
        }
        if self.examples() > MAX_EXAMPLES {
            return Err(format!(
                "it says that it holds {} examples; at most {MAX_EXAMPLES} are read",
                self.examples()
            ));
        }
        match self.product_of_example() {
            Some(size) if size <= MAX_EXAMPLE_BYTES => Ok(()),
            _ => Err(format!(
                "an example of {:?} is larger than {MAX_EXAMPLE_BYTES} bytes",
                &self.dimensions[1..]
            )),
        }
    }

    fn product_of_example(&self) -> Option<u64> {
        self.dimensions[1..]
            .iter()
            .try_fold(1_u64, |product, &size| product.checked_mul(size))
    }

    /// Number of examples.
    #[must_use]
    pub fn examples(&self) -> u64 {
        self.dimensions[0]
    }

    /// Every dimension after the first: empty for labels, rows and columns for images.
    #[must_use]
    pub fn example_shape(&self) -> &[u64] {
        &self.dimensions[1..]
    }

    /// Bytes of one example.
    #[must_use]
    pub fn example_bytes(&self) -> u64 {
        // `check` has seen that the product exists.
        self.example_shape().iter().product()
    }

    /// The header as it stands in the file.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The length that a file with this header has.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        // At most MAX_EXAMPLES times MAX_EXAMPLE_BYTES: fits 64 bits.
        self.bytes.len() as u64 + self.examples() * self.example_bytes()
    }
}

fn read_exactly(from: &mut impl Read, count: usize) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0; count];
    from.read_exact(&mut bytes)
        .map_err(|error| format!("its header is incomplete ({error})"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(kind: u8, dimensions: &[u32]) -> Vec<u8> {
        let mut bytes = vec![0, 0, kind, dimensions.len() as u8];
        for dimension in dimensions {
            bytes.extend(dimension.to_be_bytes());
        }
        bytes
    }

    #[test]
    fn the_header_of_images_is_read() {
        let bytes = header(8, &[60_000, 28, 28]);
        let header = IdxHeader::read(&mut bytes.as_slice()).unwrap();
        assert_eq!(header.examples(), 60_000);
        assert_eq!(header.example_shape(), [28, 28]);
        assert_eq!(header.file_bytes(), 16 + 60_000 * 784);
        assert_eq!(header.as_bytes(), bytes);
    }

    #[test]
    fn what_is_not_an_idx_file_of_bytes_is_refused_with_the_reason() {
        for (bytes, part) in [
            (b"\x1f\x8b\x08\x00".to_vec(), "two zero bytes"),
            (header(0x0d, &[3]), "type 0x0d"),
            (header(8, &[]), "0 dimensions"),
            (header(8, &[1, 2, 3, 4]), "4 dimensions"),
            (header(8, &[1, 0, 3]), "dimension is zero"),
            (header(8, &[u32::MAX]), "examples"),
            (header(8, &[1, u32::MAX, u32::MAX]), "larger than"),
            (header(8, &[7])[..6].to_vec(), "incomplete"),
            (Vec::new(), "incomplete"),
        ] {
            let why = IdxHeader::read(&mut bytes.as_slice()).unwrap_err();
            assert!(why.contains(part), "{why:?} should contain {part:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(header) = IdxHeader::read(&mut bytes.as_slice()) {
                prop_assert!(header.file_bytes() >= header.as_bytes().len() as u64);
            }
        }

        // Random bytes seldom get past the first check; these do.
        #[test]
        fn no_dimensions_make_the_reader_panic(dimensions in proptest::collection::vec(any::<u32>(), 0..5)) {
            let bytes = header(8, &dimensions);
            if let Ok(header) = IdxHeader::read(&mut bytes.as_slice()) {
                prop_assert!(header.examples() <= MAX_EXAMPLES);
                prop_assert!(header.example_bytes() <= MAX_EXAMPLE_BYTES);
                prop_assert_eq!(header.as_bytes(), bytes);
            }
        }
    }
}
