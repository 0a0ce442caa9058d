//! Tables of results as files: where they are looked for, how they are read, and what is refused.

// `allow-unwrap-in-tests` does not reach the helpers of an integration test.
#![allow(clippy::unwrap_used)]

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use espalier_common::spec;
use espalier_common::table::TableSpec;
use espalier_data::{DataError, identify_table, inspect_table, load_table};
use flate2::write::GzEncoder;
use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, FloatType, Int32Type, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

const ROWS: &str = "k,accuracy,unread\n3,0.5,\"a, b\"\n5,0.75,\n";

fn table(path: &str) -> TableSpec {
    let text = format!(
        "{{name: t, hyperparameters: {{k: {{choice: [3, 5]}}}}, evaluator: {{table: {{path: \"{path}\", \
         decisions: {{k: k}}, metrics: {{accuracy: accuracy}}}}}}, objectives: [{{maximize: accuracy}}], \
         budget: {{trials: 1}}}}"
    );
    spec::read(&text, "spec")
        .unwrap()
        .evaluator
        .table()
        .unwrap()
        .as_ref()
        .clone()
}

fn packed(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// What reading these bytes says.
fn refusal(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("t.csv"), bytes).unwrap();
    let error = inspect_table(folder.path(), folder.path(), &table("t.csv")).unwrap_err();
    let root = folder.path().to_str().unwrap();
    error.to_string().replace(root, "ROOT")
}

#[test]
fn a_table_is_read_below_the_root_or_beside_the_spec_packed_or_not() {
    let (root, beside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(root.path().join("t.csv"), ROWS).unwrap();
    std::fs::write(beside.path().join("t.csv"), "k,accuracy\n3,0\n").unwrap();
    std::fs::write(beside.path().join("u.csv"), packed(ROWS.as_bytes())).unwrap();
    let (info, below) = inspect_table(root.path(), beside.path(), &table("t.csv")).unwrap();
    assert_eq!(
        (info.path.as_str(), info.rows, below.len()),
        ("t.csv", 2, 2)
    );
    assert_eq!(below.column("accuracy"), [Some(0.5), Some(0.75)]);
    let (info, packed) = inspect_table(root.path(), beside.path(), &table("u.csv")).unwrap();
    assert!(Path::new(&info.path).is_absolute(), "{}", info.path);
    assert_eq!(packed.column("accuracy"), below.column("accuracy"));
    let loaded = load_table(root.path(), &info, &table("u.csv")).unwrap();
    assert_eq!(loaded.len(), 2);
    let error = inspect_table(root.path(), beside.path(), &table("v.csv")).unwrap_err();
    assert!(matches!(error, DataError::NoTable { .. }), "{error}");
}

#[test]
fn a_worker_takes_only_the_table_that_the_search_was_submitted_with() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(here.path().join("t.csv"), ROWS).unwrap();
    let (info, _) = inspect_table(here.path(), Path::new("/nowhere"), &table("t.csv")).unwrap();
    let error = load_table(there.path(), &info, &table("t.csv")).unwrap_err();
    assert!(matches!(error, DataError::NoTable { .. }), "{error}");
    // A column that is not read is part of the file, too.
    std::fs::write(there.path().join("t.csv"), ROWS.replace("a, b", "a; b")).unwrap();
    let error = load_table(there.path(), &info, &table("t.csv")).unwrap_err();
    assert!(matches!(error, DataError::OtherData { .. }), "{error}");
    std::fs::write(there.path().join("t.csv"), ROWS).unwrap();
    assert_eq!(
        load_table(there.path(), &info, &table("t.csv"))
            .unwrap()
            .len(),
        2
    );
    // Named by a path of the machine it was submitted from, it is found below the root as well.
    let mut elsewhere = info.clone();
    elsewhere.path = "/no/such/folder/t.csv".to_owned();
    assert!(load_table(there.path(), &elsewhere, &table("t.csv")).is_ok());
    elsewhere.path = "../t.csv".to_owned();
    let error = load_table(there.path(), &elsewhere, &table("t.csv")).unwrap_err();
    assert!(matches!(error, DataError::BadPath { .. }), "{error}");
}

#[test]
fn what_is_no_table_is_refused_with_its_place() {
    let whole = packed(ROWS.as_bytes());
    let mut endless = b"k,accuracy\n3,1\n\"".to_vec();
    endless.resize(20 << 20, b'x');
    for (bytes, part) in [
        (
            &b""[..],
            "it is empty; the names of its columns are expected",
        ),
        (b"k,accuracy\n", "it has no rows below its header"),
        (
            b"k,accuracy\n3,0.5\n5,best\n",
            "line 3, column \"accuracy\": \"best\" is not a number",
        ),
        (
            b"k,accuracy\n3,0.5\n5\n",
            "line 3 has 1 fields, and the header has 2",
        ),
        (
            b"k,accuracy\n3,0.5\n3,0.6\n",
            "lines 2 and 3 are about the same candidate",
        ),
        (b"k,accuracy\n\"3\n\",0.5\n3,1\n", "lines 2 and 4"),
        (b"k,accuracy\n\xff\xfe,0.5\n", "line 2: it is not UTF-8"),
        (&whole[..whole.len() - 9], "the table ROOT/t.csv: "),
        (&endless, "a quote that is not closed"),
    ] {
        let said = refusal(bytes);
        assert!(said.contains(part) && said.contains("ROOT/t.csv"), "{said}");
    }
    let damaged = &mut whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xff;
    assert!(refusal(damaged).contains("the table ROOT/t.csv"));
}

#[test]
fn a_byte_order_mark_and_windows_lines_do_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("\u{feff}{}", ROWS.replace('\n', "\r\n"));
    std::fs::write(folder.path().join("t.csv"), text).unwrap();
    let (_, table) = inspect_table(folder.path(), folder.path(), &table("t.csv")).unwrap();
    assert_eq!(table.column("accuracy"), [Some(0.5), Some(0.75)]);
}

/// A Parquet file of three rows; `k` in one of the ways in which numbers and names are stored.
fn parquet_of(text_keys: bool, compression: Compression) -> Vec<u8> {
    let key = if text_keys {
        "OPTIONAL BYTE_ARRAY k (UTF8)"
    } else {
        "REQUIRED INT64 k"
    };
    let schema = format!(
        "message results {{ {key}; OPTIONAL FLOAT accuracy; REQUIRED BOOLEAN unread; REPEATED INT32 list; }}"
    );
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .build();
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    if text_keys {
        let keys = [ByteArray::from("3"), ByteArray::from("5")];
        let typed = column.typed::<ByteArrayType>();
        typed.write_batch(&keys, Some(&[1, 1, 0]), None).unwrap();
    } else {
        let typed = column.typed::<Int64Type>();
        typed.write_batch(&[3, 5, 7], None, None).unwrap();
    }
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let typed = column.typed::<FloatType>();
    typed
        .write_batch(&[0.1, 0.75], Some(&[1, 1, 0]), None)
        .unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let typed = column.typed::<BoolType>();
    typed.write_batch(&[true, false, true], None, None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let typed = column.typed::<Int32Type>();
    typed
        .write_batch(&[1, 2], Some(&[1, 1, 0, 0]), Some(&[0, 1, 0, 0]))
        .unwrap();
    column.close().unwrap();
    group.close().unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn a_parquet_file_is_the_table_that_its_cells_written_as_csv_would_be() {
    let folder = tempfile::tempdir().unwrap();
    let read = |name: &str, bytes: &[u8]| {
        std::fs::write(folder.path().join(name), bytes).unwrap();
        inspect_table(folder.path(), folder.path(), &table(name)).unwrap()
    };
    let (_, csv) = read(
        "t.csv",
        b"k,accuracy,unread\n3,0.1,true\n5,0.75,false\n7,,true\n",
    );
    for (text_keys, compression) in [
        (false, Compression::UNCOMPRESSED),
        (false, Compression::SNAPPY),
        (true, Compression::ZSTD(ZstdLevel::default())),
        (true, Compression::LZ4_RAW),
        (true, Compression::GZIP(GzipLevel::default())),
    ] {
        let bytes = parquet_of(text_keys, compression);
        let (info, parquet) = read("t.parquet", &bytes);
        assert_eq!(info.rows, 3);
        assert_eq!(parquet.column("accuracy"), csv.column("accuracy"));
        let loaded = load_table(folder.path(), &info, &table("t.parquet")).unwrap();
        assert_eq!(loaded.column("accuracy"), csv.column("accuracy"));
    }
}

#[test]
fn a_damaged_parquet_file_is_refused_or_read_and_never_more() {
    let bytes = parquet_of(true, Compression::SNAPPY);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.parquet");
    let spec = table("t.parquet");
    let mut refused = 0;
    for place in 4..bytes.len() {
        for change in [1, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[place] ^= change;
            std::fs::write(&path, damaged).unwrap();
            refused += usize::from(inspect_table(folder.path(), folder.path(), &spec).is_err());
        }
    }
    assert!(refused > 100, "{refused}");
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = inspect_table(folder.path(), folder.path(), &spec).unwrap_err();
    assert!(
        error.to_string().contains("cannot be read as Parquet"),
        "{error}"
    );
}

#[test]
fn a_table_is_known_by_the_same_fingerprint_with_and_without_a_spec() {
    let root = tempfile::tempdir().unwrap();
    let files = [
        ("t.csv", ROWS.as_bytes().to_vec()),
        ("t.csv.gz", packed(ROWS.as_bytes())),
        ("t.parquet", parquet_of(true, Compression::SNAPPY)),
    ];
    for (name, content) in files {
        std::fs::write(root.path().join(name), content).unwrap();
        let (info, _) = inspect_table(root.path(), root.path(), &table(name)).unwrap();
        let (path, fingerprint) = identify_table(root.path(), name).unwrap();
        assert_eq!(fingerprint, info.fingerprint, "{name}");
        assert_eq!(path, root.path().join(name));
    }
    let wrong: [(&[u8], &str); 5] = [
        (b"one column\n1\n", "2 columns"),
        (b"", "2 columns"),
        (b"\xff\xfe,\x00\n", "UTF-8"),
        (b"PAR1 and no more", "Parquet"),
        (b"\x1f\x8b and no more", ""),
    ];
    for (content, message) in wrong {
        std::fs::write(root.path().join("x"), content).unwrap();
        let error = identify_table(root.path(), "x").unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    for path in ["../x", "", "nothing"] {
        assert!(identify_table(root.path(), path).is_err(), "{path:?}");
    }
}
