//! What only NVIDIA's management library knows.

use std::ffi::{c_char, c_int, c_uint, c_void};

use super::text;

/// Version of the driver, and the power limit of the first device in watts.
pub fn nvml_facts() -> (Option<String>, Option<f64>) {
    // SAFETY: the functions are called as nvml.h declares them, between init and shutdown.
    unsafe {
        let Ok(library) = libloading::Library::new("libnvidia-ml.so.1") else { return (None, None) };
        let Ok(init) = library.get::<unsafe extern "C" fn() -> c_int>(b"nvmlInit_v2") else {
            return (None, None);
        };
        if init() != 0 {
            return (None, None);
        }
        let mut driver = None;
        if let Ok(version) =
            library.get::<unsafe extern "C" fn(*mut c_char, c_uint) -> c_int>(b"nvmlSystemGetDriverVersion")
        {
            let mut room = [0_u8; 96];
            if version(room.as_mut_ptr().cast(), 95) == 0 {
                driver = Some(text(&room));
            }
        }
        let mut watts = None;
        if let (Ok(by_index), Ok(limit)) = (
            library.get::<unsafe extern "C" fn(c_uint, *mut *mut c_void) -> c_int>(
                b"nvmlDeviceGetHandleByIndex_v2",
            ),
            library.get::<unsafe extern "C" fn(*mut c_void, *mut c_uint) -> c_int>(
                b"nvmlDeviceGetEnforcedPowerLimit",
            ),
        ) {
            let (mut device, mut milliwatts) = (std::ptr::null_mut(), 0);
            if by_index(0, &mut device) == 0 && limit(device, &mut milliwatts) == 0 {
                watts = Some(f64::from(milliwatts) / 1000.0);
            }
        }
        if let Ok(shutdown) = library.get::<unsafe extern "C" fn() -> c_int>(b"nvmlShutdown") {
            shutdown();
        }
        (driver, watts)
    }
}
