/** Unit tests run anywhere; browser tests drive the Chromium of this machine (`tests/browser/chromium.ts`). */

import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    projects: [
      // None of them waits; but others may have the machine.
      { test: { name: 'unit', include: ['tests/unit/**/*.test.ts'], testTimeout: 120_000 } },
      {
        test: {
          name: 'browser',
          include: ['tests/browser/**/*.test.ts'],
          testTimeout: 600_000,
          hookTimeout: 120_000,
          // What has to come is waited for, on a slow machine too.
          expect: { poll: { timeout: 60_000, interval: 50 } },
          // Each has a browser of its own; two cores do not carry more.
          poolOptions: { forks: { singleFork: true } },
        },
      },
    ],
  },
});
