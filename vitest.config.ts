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
					testTimeout: 60_000,
				},
			},
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
