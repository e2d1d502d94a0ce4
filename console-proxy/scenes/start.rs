//! From QEMU's loader to `main`.
//!
//! The loader finds the entry by a note (Xen's PVH, `xen/include/public/elfnote.h`: `XEN_ELFNOTE_PHYS32_ENTRY`) and jumps to it in
//! protected mode without paging, after the BIOS and the VGA's have set up their devices. What is left: long mode, with the first 4 GiB
//! where they are, in pages of 2 MiB; SSE, which rustc's target uses; and a handler for interrupts, which only end a `hlt`.

core::arch::global_asm!(
    r#"
    .section .note.pvh, "a", @note
    .balign 4
    .long 4, 8, 18
    .asciz "Xen"
    .quad start

    .section .bss.start, "aw", @nobits
    .balign 4096
level_4: .skip 4096
level_3: .skip 4096
level_2: .skip 4 * 4096
    .skip 65536
stack:

    .section .rodata.start, "a"
    .balign 8
segments: .quad 0, 0x00af9a000000ffff, 0x00cf92000000ffff
segments_are: .word 23
    .long segments

    .section .text.start, "ax"
    .code32
start:
    cli
    movl $level_3 + 3, level_4
    movl $level_3, %edi
    movl $level_2 + 3, %eax
0:  movl %eax, (%edi)
    addl $8, %edi
    addl $4096, %eax
    cmpl $level_3 + 32, %edi
    jne 0b
    movl $level_2, %edi
    movl $0x83, %eax
1:  movl %eax, (%edi)
    addl $8, %edi
    addl $0x200000, %eax
    cmpl $level_2 + 4 * 4096, %edi
    jne 1b
    movl %cr4, %eax
    orl $0x620, %eax
    movl %eax, %cr4
    movl $level_4, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x100, %eax
    wrmsr
    movl %cr0, %eax
    andl $0xfffffffb, %eax
    orl $0x80000003, %eax
    movl %eax, %cr0
    lgdt segments_are
    ljmp $8, $2f
    .code64
2:  movl $16, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movq $stack, %rsp
    call main

    .globl interrupted
interrupted:
    pushq %rax
    movb $0x20, %al
    outb %al, $0xa0
    outb %al, $0x20
    popq %rax
    iretq

    .globl broken
broken:
    movw $0x3f8, %dx
    movb $'!', %al
    outb %al, %dx
3:  hlt
    jmp 3b
"#,
    options(att_syntax)
);

unsafe extern "C" {
    /// Any interrupt of a device ends here, and is forgotten.
    pub(crate) fn interrupted();

    /// Any fault ends here, with a `!` on COM1.
    pub(crate) fn broken();
}
