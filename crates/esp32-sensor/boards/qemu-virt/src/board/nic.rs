//! The virtio network card as embassy-net's driver: eight buffers each way, no allocator.
//! Used by the board. Its interrupt wakes the executor, which polls the stack; a frame is copied once each way.
#![allow(unsafe_code, reason = "the card reads and writes this image's memory")]

use core::cell::UnsafeCell;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicUsize, Ordering};
use core::task::Context;

use embassy_net_driver::{Capabilities, Driver, HardwareAddress, LinkState, RxToken, TxToken};
use virtio_drivers::device::net::VirtIONetRaw;
use virtio_drivers::transport::mmio::{MmioTransport, VirtIOHeader};
use virtio_drivers::transport::{DeviceType, Transport};
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

use super::{executor, machine};

/// The machine has so many places for virtio devices, with interrupts from 1 on.
const SLOTS: u32 = 8;
const FIRST_SLOT: usize = 0x1000_1000;
const SLOT_BYTES: usize = 0x1000;
/// Of a device's registers: which interrupts are pending, and the answer to them.
const INTERRUPT_STATUS: usize = 0x60;
const INTERRUPT_ACK: usize = 0x64;

const QUEUE: usize = 16;
/// Two queues of the legacy layout take two pages each.
const DMA_PAGES: usize = 8;
const BUFFERS: usize = 8;
/// A frame, the card's header, and what the library asks for at least.
const BUFFER_BYTES: usize = 1_600;
const MTU: usize = 1_514;

/// The card's registers, for the interrupt; 0 before there is one.
static REGISTERS: AtomicUsize = AtomicUsize::new(0);

/// Memory for the queues, handed out once.
#[repr(C, align(4096))]
struct Pages(UnsafeCell<[u8; DMA_PAGES * PAGE_SIZE]>);

// SAFETY: each page is handed out once, by the counter below.
unsafe impl Sync for Pages {}

static PAGES: Pages = Pages(UnsafeCell::new([0; DMA_PAGES * PAGE_SIZE]));
static PAGES_TAKEN: AtomicUsize = AtomicUsize::new(0);

struct Identity;

// SAFETY: there is no address translation, so that addresses are the same for the card; pages come from a pool that is aligned
// and zero and are handed out once.
unsafe impl Hal for Identity {
    fn dma_alloc(pages: usize, _direction: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let first = PAGES_TAKEN.fetch_add(pages, Ordering::Relaxed);
        assert!(first + pages <= DMA_PAGES, "the card's queues are smaller than the pool");
        // SAFETY: within the pool, as was just asserted.
        let start = unsafe { PAGES.0.get().cast::<u8>().add(first * PAGE_SIZE) };
        let start = NonNull::new(start).expect("the pool is not at address 0");
        (start.as_ptr() as PhysAddr, start)
    }

    unsafe fn dma_dealloc(_address: PhysAddr, _start: NonNull<u8>, _pages: usize) -> i32 {
        // The card lives as long as the machine.
        0
    }

    unsafe fn mmio_phys_to_virt(address: PhysAddr, _size: usize) -> NonNull<u8> {
        NonNull::new(address as usize as *mut u8).expect("no register is at address 0")
    }

    unsafe fn share(buffer: NonNull<[u8]>, _direction: BufferDirection) -> PhysAddr {
        buffer.as_ptr().cast::<u8>() as PhysAddr
    }

    unsafe fn unshare(_address: PhysAddr, _buffer: NonNull<[u8]>, _direction: BufferDirection) {}
}

/// Frames that the card fills or empties. They are in a static, so that they outlive whatever the card does.
struct Frames(UnsafeCell<[[u8; BUFFER_BYTES]; BUFFERS]>);

// SAFETY: used by the one card, which `Nic::find` gives once.
unsafe impl Sync for Frames {}

impl Frames {
    const fn new() -> Self {
        Self(UnsafeCell::new([[0; BUFFER_BYTES]; BUFFERS]))
    }

    /// # Safety
    /// The frame must not be the card's now, and its last reference be gone.
    unsafe fn get(&self, number: usize) -> &'static mut [u8; BUFFER_BYTES] {
        // SAFETY: as the caller says; the number is one of an array's of that length.
        unsafe { &mut *self.0.get().cast::<[u8; BUFFER_BYTES]>().add(number % BUFFERS) }
    }
}

static INCOMING: Frames = Frames::new();
static OUTGOING: Frames = Frames::new();

/// The card, and a frame that came in and is being looked at.
pub(super) struct Nic {
    side: Side,
    frame: [u8; BUFFER_BYTES],
}

/// The card and what it has of ours.
struct Side {
    card: VirtIONetRaw<Identity, MmioTransport<'static>, QUEUE>,
    /// The frame behind each of the card's tokens.
    incoming: [Option<usize>; QUEUE],
    /// The same, with its length.
    outgoing: [Option<(usize, usize)>; QUEUE],
    /// Frames that are not on their way out.
    free: [bool; BUFFERS],
}

impl Nic {
    /// The first network card of the machine, ready, with its interrupt on. Called once.
    pub(super) fn find() -> Option<Self> {
        for (slot, interrupt) in (1..=SLOTS).enumerate() {
            let registers = FIRST_SLOT + slot * SLOT_BYTES;
            let header = NonNull::new(registers as *mut VirtIOHeader)?;
            // SAFETY: the machine has a device, or an empty slot that says so, at each of these addresses.
            let Ok(transport) = (unsafe { MmioTransport::new(header, SLOT_BYTES) }) else { continue };
            if transport.device_type() != DeviceType::Network {
                continue;
            }
            let mut side = Side {
                card: VirtIONetRaw::new(transport).ok()?,
                incoming: [None; QUEUE],
                outgoing: [None; QUEUE],
                free: [true; BUFFERS],
            };
            (0..BUFFERS).for_each(|frame| side.offer(frame));
            REGISTERS.store(registers, Ordering::Relaxed);
            machine::enable_interrupt(interrupt);
            return Some(Self { side, frame: [0; BUFFER_BYTES] });
        }
        None
    }

    /// The card's hardware address as a number.
    pub(super) fn address_number(&self) -> u64 {
        self.side.card.mac_address().iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

impl Side {
    /// Has the card fill this frame.
    fn offer(&mut self, frame: usize) {
        // SAFETY: the frame is not the card's: it is new, or was just taken from it; the reference ends here.
        let begun = unsafe { self.card.receive_begin(INCOMING.get(frame)) };
        if let Ok(token) = begun
            && let Some(place) = self.incoming.get_mut(usize::from(token))
        {
            *place = Some(frame);
        }
    }

    /// Copies the next frame that has come, and says how long it is.
    fn take(&mut self, to: &mut [u8; BUFFER_BYTES]) -> Option<usize> {
        let token = self.card.poll_receive()?;
        let frame = self.incoming.get_mut(usize::from(token)).and_then(Option::take)?;
        // SAFETY: the card was given this frame with this token, and is through with it.
        let buffer = unsafe { INCOMING.get(frame) };
        // SAFETY: the same buffer.
        let received = unsafe { self.card.receive_complete(token, buffer) };
        let packet = received.ok().and_then(|(start, length)| buffer.get(start..start + length));
        let length = packet.and_then(|packet| {
            to.get_mut(..packet.len())?.copy_from_slice(packet);
            Some(packet.len())
        });
        self.offer(frame);
        length
    }

    /// A frame that is not on its way out; frees those that the card has sent.
    fn free_frame(&mut self) -> Option<usize> {
        while let Some(token) = self.card.poll_transmit() {
            let Some((frame, length)) = self.outgoing.get_mut(usize::from(token)).and_then(Option::take)
            else {
                break;
            };
            // SAFETY: the card was given this frame with this token and length, and is through with it.
            let sent = unsafe {
                let buffer = OUTGOING.get(frame);
                self.card.transmit_complete(token, buffer.get(..length).unwrap_or_default())
            };
            if let (Ok(_), Some(free)) = (sent, self.free.get_mut(frame)) {
                *free = true;
            }
        }
        self.free.iter().position(|free| *free)
    }

    /// Has `fill` write a frame of this length, and gives it to the card.
    fn send<R>(&mut self, frame: usize, length: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        // SAFETY: the frame is free, and the reference ends with this function; from then on it is the card's.
        let buffer = unsafe { OUTGOING.get(frame) };
        let header = self.card.fill_buffer_header(buffer).expect("a frame is larger than a header");
        let packet = buffer.get_mut(header..header + length).expect("the stack keeps to the MTU");
        let filled = fill(packet);
        let length = header + length;
        // SAFETY: not touched before `free_frame` has it back.
        let begun = unsafe { self.card.transmit_begin(buffer.get(..length).unwrap_or_default()) };
        if let Ok(token) = begun
            && let (Some(place), Some(free)) =
                (self.outgoing.get_mut(usize::from(token)), self.free.get_mut(frame))
        {
            *place = Some((frame, length));
            *free = false;
        }
        filled
    }
}

/// A frame that came.
pub(super) struct Incoming<'a>(&'a mut [u8]);

impl RxToken for Incoming<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, look: F) -> R {
        look(self.0)
    }
}

/// Room for a frame to send.
pub(super) struct Outgoing<'a> {
    side: &'a mut Side,
    frame: usize,
}

impl TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        self.side.send(self.frame, length, fill)
    }
}

impl Driver for Nic {
    type RxToken<'a> = Incoming<'a>;
    type TxToken<'a> = Outgoing<'a>;

    fn receive(&mut self, _context: &mut Context<'_>) -> Option<(Incoming<'_>, Outgoing<'_>)> {
        let frame = self.side.free_frame()?;
        let length = self.side.take(&mut self.frame)?;
        let came = self.frame.get_mut(..length)?;
        Some((Incoming(came), Outgoing { side: &mut self.side, frame }))
    }

    fn transmit(&mut self, _context: &mut Context<'_>) -> Option<Outgoing<'_>> {
        let frame = self.side.free_frame()?;
        Some(Outgoing { side: &mut self.side, frame })
    }

    fn link_state(&mut self, _context: &mut Context<'_>) -> LinkState {
        // A cut cable shows as silence, as it does behind a switch.
        LinkState::Up
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.max_transmission_unit = MTU;
        capabilities.max_burst_size = Some(BUFFERS);
        capabilities
    }

    fn hardware_address(&self) -> HardwareAddress {
        HardwareAddress::Ethernet(self.side.card.mac_address())
    }
}

#[riscv_rt::core_interrupt(riscv::interrupt::Interrupt::MachineExternal)]
fn external() {
    machine::serve_interrupt(|| {
        let registers = REGISTERS.load(Ordering::Relaxed);
        // SAFETY: the card's registers: no other device's interrupt is on, and this one's only after they are stored.
        unsafe {
            let status = ptr::read_volatile((registers + INTERRUPT_STATUS) as *const u32);
            ptr::write_volatile((registers + INTERRUPT_ACK) as *mut u32, status);
        }
    });
    executor::wake();
}
