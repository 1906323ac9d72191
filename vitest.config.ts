import { defineConfig } from "vitest/config";

export default defineConfig({
	test: {
		projects: [
			{
				test: {
					name: "unit",
					include: [
						"src/**/*.test.ts",
						"tests/board/**/*.test.ts",
						"tests/cpu/**/*.test.ts",
						"tests/disk/**/*.test.ts",
						"bench/**/*.test.ts",
					],
					// They start processes, which takes most of a second each.
					exclude: ["src/cli/**", "**/node_modules/**"],
					testTimeout: 60_000,
				},
			},
			{ test: { name: "cli", include: ["src/cli/**/*.test.ts"], testTimeout: 120_000 } },
			{ test: { name: "sim", include: ["tests/sim/**/*.test.ts", "tests/lab/**/*.test.ts"], testTimeout: 300_000 } },
			{
				test: {
					name: "guest",
					include: ["tests/guest/**/*.test.ts", "tests/snapshot/**/*.test.ts"],
					testTimeout: 600_000,
					fileParallelism: false,
				},
			},
		],
	},
});
