/**
 * Keys by their place: `KeyboardEvent.code` to scancodes of the PC's set 1, where the prefix E0 is the bit 0x80 (`PROTOCOL.md`,
 * "Input"). Names are those of the W3C's "UI Events KeyboardEvent code Values", scancodes those of its list for Windows and of
 * Linux's `atkbd` for what Windows does not have.
 */

/** Names of neighbours, from a scancode on; `-` is no key. */
const ROWS: readonly (readonly [number, string])[] = [
  [0x01, 'Escape Digit1 Digit2 Digit3 Digit4 Digit5 Digit6 Digit7 Digit8 Digit9 Digit0 Minus Equal Backspace Tab'],
  [0x10, 'KeyQ KeyW KeyE KeyR KeyT KeyY KeyU KeyI KeyO KeyP BracketLeft BracketRight Enter ControlLeft'],
  [0x1e, 'KeyA KeyS KeyD KeyF KeyG KeyH KeyJ KeyK KeyL Semicolon Quote Backquote ShiftLeft Backslash'],
  [0x2c, 'KeyZ KeyX KeyC KeyV KeyB KeyN KeyM Comma Period Slash ShiftRight NumpadMultiply AltLeft Space CapsLock'],
  [0x3b, 'F1 F2 F3 F4 F5 F6 F7 F8 F9 F10 NumLock ScrollLock'],
  [0x47, 'Numpad7 Numpad8 Numpad9 NumpadSubtract Numpad4 Numpad5 Numpad6 NumpadAdd Numpad1 Numpad2 Numpad3 Numpad0 NumpadDecimal'],
  // The key beside the left Shift of ISO keyboards, and those of Japan, Korea and Brazil.
  [0x56, 'IntlBackslash F11 F12 NumpadEqual'],
  [0x64, 'F13 F14 F15 F16 F17 F18 F19 F20 F21 F22 F23'],
  [0x70, 'KanaMode Lang2 Lang1 IntlRo - - F24 Lang4 Lang3 Convert - NonConvert - IntlYen NumpadComma'],
  [0x90, 'MediaTrackPrevious'],
  [0x99, 'MediaTrackNext - - NumpadEnter ControlRight'],
  [0xa0, 'AudioVolumeMute LaunchApp2 MediaPlayPause - MediaStop'],
  [0xae, 'AudioVolumeDown - AudioVolumeUp - BrowserHome - - NumpadDivide - PrintScreen AltRight'],
  [0xc6, 'Pause Home ArrowUp PageUp - ArrowLeft - ArrowRight - End ArrowDown PageDown Insert Delete'],
  [0xdb, 'MetaLeft MetaRight ContextMenu Power Sleep'],
  [0xe3, 'WakeUp - BrowserSearch BrowserFavorites BrowserRefresh BrowserStop BrowserForward BrowserBack LaunchApp1 LaunchMail MediaSelect'],
];

/** Other names for the same keys, of older browsers. */
const ALIASES: readonly (readonly [string, string])[] = [
  ['OSLeft', 'MetaLeft'],
  ['OSRight', 'MetaRight'],
  ['VolumeMute', 'AudioVolumeMute'],
  ['VolumeDown', 'AudioVolumeDown'],
  ['VolumeUp', 'AudioVolumeUp'],
  ['HiraganaKatakana', 'KanaMode'],
];

const SCANCODES: ReadonlyMap<string, number> = table();

/** A key's scancode; 0 if there is none for it. */
export function scancode(code: string): number {
  return SCANCODES.get(code) ?? 0;
}

/** All names that have a scancode. */
export function codes(): string[] {
  return [...SCANCODES.keys()];
}

function table(): Map<string, number> {
  const scancodes = new Map<string, number>();
  for (const [first, names] of ROWS) {
    names.split(' ').forEach((name, at) => {
      if (name !== '-') scancodes.set(name, first + at);
    });
  }
  for (const [alias, name] of ALIASES) scancodes.set(alias, scancodes.get(name) ?? 0);
  return scancodes;
}
