//! Functions that the compiler calls by name, and a C library would give: copying, filling and
//! comparing memory.
//!
//! Each is written so that it does not become a call of itself: by a string instruction where the
//! architecture has one, and otherwise by volatile accesses.

#[cfg(target_arch = "x86_64")]
use core::arch::asm;

/// # Safety
///
/// As of C's `memcpy`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    // SAFETY: the caller vouches for both ranges.
    unsafe { copy_up(to, from, length) };
    to
}

/// # Safety
///
/// As of C's `memmove`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    if (to as usize).wrapping_sub(from as usize) >= length {
        // SAFETY: the caller vouches for both ranges; upwards no byte is read after it was written.
        unsafe { copy_up(to, from, length) };
    } else {
        let mut left = length;
        while left > 0 {
            left -= 1;
            // SAFETY: within the ranges that the caller vouches for. Volatile, so that this loop
            // does not become a call of the function that it is.
            unsafe { to.add(left).write_volatile(from.add(left).read_volatile()) };
        }
    }
    to
}

/// # Safety
///
/// As of C's `memset`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, length: usize) -> *mut u8 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: `rep stosb` writes `length` bytes from `to` on, for which the caller vouches; the
    // direction flag is clear, as the ABI says.
    unsafe {
        asm!("rep stosb", inout("rcx") length => _, inout("rdi") to => _, in("al") byte as u8,
             options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "x86_64"))]
    for at in 0..length {
        // SAFETY: within the range that the caller vouches for.
        unsafe { to.add(at).write_volatile(byte as u8) };
    }
    to
}

/// # Safety
///
/// As of C's `memcmp`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(one: *const u8, other: *const u8, length: usize) -> i32 {
    for at in 0..length {
        // SAFETY: within the ranges that the caller vouches for.
        let (one, other) = unsafe { (one.add(at).read_volatile(), other.add(at).read_volatile()) };
        if one != other {
            return i32::from(one) - i32::from(other);
        }
    }
    0
}

/// # Safety
///
/// As of C's `bcmp`.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(one: *const u8, other: *const u8, length: usize) -> i32 {
    // SAFETY: the caller vouches for both ranges.
    unsafe { memcmp(one, other, length) }
}

/// # Safety
///
/// Both ranges are valid, and `to` is not inside the range of `from`.
unsafe fn copy_up(to: *mut u8, from: *const u8, length: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: `rep movsb` copies `length` bytes upwards between ranges for which the caller
    // vouches; the direction flag is clear, as the ABI says.
    unsafe {
        asm!("rep movsb", inout("rcx") length => _, inout("rdi") to => _, inout("rsi") from => _,
             options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "x86_64"))]
    for at in 0..length {
        // SAFETY: within the ranges that the caller vouches for.
        unsafe { to.add(at).write_volatile(from.add(at).read_volatile()) };
    }
}
