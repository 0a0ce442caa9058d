//! Devices: loading CUDA when the libtorch in use has it, naming devices, finding them by name.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use tch::{Cuda, Device};

use crate::error::JobError;

/// Loads `libtorch_cuda.so` from the folder that `libtorch_cpu.so` came from, if it is there. The binary
/// is linked with the CPU libraries only, so that one build runs with and without a GPU; CUDA registers
/// itself with libtorch when it is loaded. Returns whether it was loaded.
///
/// # Errors
/// What the dynamic linker says. The CPU can be used all the same.
pub fn load_cuda() -> Result<bool, String> {
    let maps = std::fs::read_to_string("/proc/self/maps").map_err(|error| error.to_string())?;
    let cpu = maps
        .lines()
        .filter_map(|line| line.find('/').map(|at| &line[at..]))
        .find(|path| path.ends_with("/libtorch_cpu.so"));
    let Some(cuda) = cpu.map(|path| PathBuf::from(path).with_file_name("libtorch_cuda.so")) else {
        return Ok(false);
    };
    if !cuda.exists() {
        return Ok(false);
    }
    let name = CString::new(cuda.as_os_str().as_bytes()).map_err(|error| error.to_string())?;
    open_for_good(&name).map(|()| true)
}

#[allow(unsafe_code)]
fn open_for_good(name: &CStr) -> Result<(), String> {
    // SAFETY: `name` is a valid C string. The library's initialisers are those of libtorch itself. The
    // handle is dropped without closing: CUDA stays for the life of the process.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
    if !handle.is_null() {
        return Ok(());
    }
    // SAFETY: `dlerror` returns null or a C string that lives until the next call in this thread.
    let message = unsafe {
        let message = libc::dlerror();
        (!message.is_null()).then(|| CStr::from_ptr(message).to_string_lossy().into_owned())
    };
    Err(message.unwrap_or_else(|| "the dynamic linker gave no reason".to_owned()))
}

/// The names of the devices that can be used: `cpu`, `cuda:0`, …
#[must_use]
pub fn available() -> Vec<String> {
    let count = if Cuda::is_available() {
        Cuda::device_count()
    } else {
        0
    };
    std::iter::once("cpu".to_owned())
        .chain((0..count).map(|number| format!("cuda:{number}")))
        .collect()
}

/// The device of a name.
///
/// # Errors
/// [`JobError::Unsupported`] for a device that this machine does not have.
pub fn find(name: &str) -> Result<Device, JobError> {
    let devices = available();
    let place = devices.iter().position(|device| device == name);
    match place {
        Some(0) => Ok(Device::Cpu),
        Some(place) => Ok(Device::Cuda(place - 1)),
        None => Err(JobError::Unsupported(format!(
            "the job is for the device {:?}, and this evaluator has {}",
            name.chars().take(40).collect::<String>(),
            devices.join(", ")
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_found_by_the_names_that_are_advertised() {
        for name in available() {
            assert!(find(&name).is_ok(), "{name}");
        }
        assert_eq!(find("cpu").unwrap(), Device::Cpu);
    }

    #[test]
    fn an_unknown_device_is_refused_with_those_that_are_there() {
        let text = find("tpu:0").unwrap_err().to_string();
        assert!(text.contains("tpu:0") && text.contains("cpu"), "{text}");
    }
}
