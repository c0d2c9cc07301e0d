//! An owned, zeroed buffer whose start suits vector loads and, when large, huge pages.
//!
//! Reading weights with 2 MiB pages is about 1.4 times as fast as with 4 KiB pages where the TLB is the
//! limit, so buffers of at least one huge page are mapped on that boundary and the kernel is asked for
//! huge pages. Not a general allocator: the length never changes.

#![expect(unsafe_code, reason = "aligned allocation has no safe form in std")]

use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Every buffer starts on a cache line.
const ALIGN: usize = 64;
/// Size of a huge page, and the length from which a buffer asks for them.
#[cfg(target_os = "linux")]
const HUGE: usize = 2 << 20;

/// Owned bytes on a 64-byte boundary; from 2 MiB on a 2 MiB boundary with huge pages asked for (Linux).
pub struct AlignedBytes {
    ptr: NonNull<u8>,
    len: usize,
    origin: Origin,
}

/// Where the memory came from, hence how it goes back.
enum Origin {
    Heap,
    #[cfg(target_os = "linux")]
    Map {
        base: NonNull<u8>,
        mapped: usize,
    },
}

// SAFETY: the buffer is owned and plain bytes; no thread-bound state.
unsafe impl Send for AlignedBytes {}
// SAFETY: shared access only reads.
unsafe impl Sync for AlignedBytes {}

impl AlignedBytes {
    /// `len` zero bytes. Large buffers take memory only as it is touched.
    ///
    /// Aborts like any allocation when the system has no memory.
    pub fn zeroed(len: usize) -> Self {
        #[cfg(target_os = "linux")]
        if len >= HUGE
            && let Some(mapped) = Self::map(len)
        {
            return mapped;
        }
        let layout = Self::heap_layout(len);
        // SAFETY: the layout has a size of at least one byte.
        let raw = unsafe { std::alloc::alloc_zeroed(layout) };
        let Some(ptr) = NonNull::new(raw) else {
            std::alloc::handle_alloc_error(layout)
        };
        Self {
            ptr,
            len,
            origin: Origin::Heap,
        }
    }

    /// A copy of `bytes`.
    pub fn copy_of(bytes: &[u8]) -> Self {
        let mut owned = Self::zeroed(bytes.len());
        owned.copy_from_slice(bytes);
        owned
    }

    fn heap_layout(len: usize) -> std::alloc::Layout {
        std::alloc::Layout::from_size_align(len.max(1), ALIGN).expect("a slice length plus 64 fits in isize")
    }

    /// Maps one huge page more than needed and starts on the boundary inside; the slack is never touched.
    #[cfg(target_os = "linux")]
    fn map(len: usize) -> Option<Self> {
        let mapped = len.checked_next_multiple_of(HUGE)?.checked_add(HUGE)?;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a fresh private anonymous mapping touches no existing memory.
        let raw = unsafe { libc::mmap(std::ptr::null_mut(), mapped, protection, flags, -1, 0) };
        if raw == libc::MAP_FAILED {
            return None;
        }
        let base = NonNull::new(raw.cast::<u8>())?;
        let skip = base.as_ptr().align_offset(HUGE);
        // SAFETY: `skip < HUGE` and the mapping is HUGE longer than the rounded length.
        let ptr = unsafe { base.add(skip) };
        // SAFETY: the range lies inside the mapping made above. Failure only means small pages.
        unsafe { libc::madvise(ptr.as_ptr().cast(), mapped - HUGE, libc::MADV_HUGEPAGE) };
        Some(Self {
            ptr,
            len,
            origin: Origin::Map { base, mapped },
        })
    }
}

impl Drop for AlignedBytes {
    fn drop(&mut self) {
        match self.origin {
            Origin::Heap => {
                // SAFETY: allocated in `zeroed` with the layout of the same length.
                unsafe { std::alloc::dealloc(self.ptr.as_ptr(), Self::heap_layout(self.len)) }
            }
            #[cfg(target_os = "linux")]
            Origin::Map { base, mapped } => {
                // SAFETY: exactly the mapping made in `map`, which nothing else frees.
                unsafe { libc::munmap(base.as_ptr().cast(), mapped) };
            }
        }
    }
}

impl Deref for AlignedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `ptr` is valid and initialised (zeroed) for `len` bytes as long as `self` lives.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }
}

impl AsRef<[u8]> for AlignedBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len) }
    }
}

impl std::fmt::Debug for AlignedBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AlignedBytes")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_zero_aligned_and_writable() {
        for len in [0, 1, 63, 64, 65, 4096, (2 << 20) - 1, 2 << 20, (2 << 20) + 1] {
            let mut bytes = AlignedBytes::zeroed(len);
            assert_eq!(bytes.len(), len);
            assert_eq!(bytes.as_ptr() as usize % ALIGN, 0);
            assert!(bytes.iter().all(|&b| b == 0));
            bytes.fill(7);
            assert!(bytes.iter().all(|&b| b == 7));
        }
    }

    #[test]
    fn large_buffers_start_on_a_huge_page() {
        #[cfg(target_os = "linux")]
        assert_eq!(AlignedBytes::zeroed(3 << 20).as_ptr() as usize % HUGE, 0);
    }

    #[test]
    fn copies_what_it_is_given() {
        assert_eq!(&AlignedBytes::copy_of(b"weights")[..], b"weights");
    }
}
