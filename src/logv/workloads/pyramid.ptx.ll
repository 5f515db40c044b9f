@constants = internal constant [1 x i8] c"\00", align 64
define i32 @kernel(ptr noalias %params, ptr noalias %global, ptr noalias %shared, ptr noalias align 64 %scratch, ptr noalias %grid, i64 %begin, i64 %end) #0 {
entry:
  %grid_x_p = getelementptr i8, ptr %grid, i64 0
  %grid_x = load i32, ptr %grid_x_p, align 4
  %grid_x_n = call i32 @llvm.umax.i32(i32 %grid_x, i32 1)
  %grid_x_w = zext i32 %grid_x_n to i64
  %grid_y_p = getelementptr i8, ptr %grid, i64 4
  %grid_y = load i32, ptr %grid_y_p, align 4
  %grid_y_n = call i32 @llvm.umax.i32(i32 %grid_y, i32 1)
  %grid_y_w = zext i32 %grid_y_n to i64
  %grid_z_p = getelementptr i8, ptr %grid, i64 8
  %grid_z = load i32, ptr %grid_z_p, align 4
  %grid_z_n = call i32 @llvm.umax.i32(i32 %grid_z, i32 1)
  %grid_z_w = zext i32 %grid_z_n to i64
  %param16_i32_p = getelementptr i8, ptr %params, i64 16
  %param16_i32 = load i32, ptr %param16_i32_p, align 1
  %param0_i64_p = getelementptr i8, ptr %params, i64 0
  %param0_i64 = load i64, ptr %param0_i64_p, align 1
  %param8_i64_p = getelementptr i8, ptr %params, i64 8
  %param8_i64 = load i64, ptr %param8_i64_p, align 1
  %param20_i32_p = getelementptr i8, ptr %params, i64 20
  %param20_i32 = load i32, ptr %param20_i32_p, align 1
  br label %block_head
block_head:
  %block = phi i64 [ %begin, %entry ], [ %block_after, %block_next ]
  %block_more = icmp ult i64 %block, %end
  br i1 %block_more, label %block_body, label %done
block_body:
  %plane = udiv i64 %block, %grid_x_w
  %ctaid_x_w = urem i64 %block, %grid_x_w
  %ctaid_y_w = urem i64 %plane, %grid_y_w
  %ctaid_z_w = udiv i64 %plane, %grid_y_w
  %ctaid_x = trunc i64 %ctaid_x_w to i32
  %ctaid_y = trunc i64 %ctaid_y_w to i32
  %ctaid_z = trunc i64 %ctaid_z_w to i32
  %v1 = shl i32 %ctaid_x, 8
  %v194 = mul i32 %ctaid_z, %param16_i32
  %v11 = mul i32 %v194, %param20_i32
  %v195 = add i32 %param20_i32, -1
  %v196 = add i32 %ctaid_y, -2
  %v197 = call i32 @llvm.smax.i32(i32 %v196, i32 0)
  %v9 = mul i32 %v197, %param16_i32
  %v198 = add i32 %ctaid_y, -1
  %v199 = call i32 @llvm.smax.i32(i32 %v198, i32 0)
  %v16 = mul i32 %v199, %param16_i32
  %v22 = mul i32 %ctaid_y, %param16_i32
  %v200 = add i32 %ctaid_y, 1
  %v201 = call i32 @llvm.smin.i32(i32 %v200, i32 %v195)
  %v29 = mul i32 %v201, %param16_i32
  %v202 = add i32 %ctaid_y, 2
  %v203 = call i32 @llvm.smin.i32(i32 %v202, i32 %v195)
  %v34 = mul i32 %v203, %param16_i32
  br label %r0
r0:
  %v2 = add nsw i32 %v1, 0
  %v3 = icmp sle i32 %v2, 2147483392
  %v4 = sext i32 %v2 to i64
  %v5 = sext i32 %param16_i32 to i64
  %v6 = sub nsw i64 %v4, %v5
  %v7 = icmp sge i64 %v6, 0
  %v8 = icmp slt i64 %v6, -255
  %v10 = add i32 %v9, %v2
  %v12 = add i32 %v10, %v11
  %v13 = icmp sle i32 %v12, 2147483392
  %v14 = sext i32 %v12 to i64
  %v15 = add i64 %param0_i64, %v14
  %v17 = add i32 %v16, %v2
  %v18 = add i32 %v17, %v11
  %v19 = icmp sle i32 %v18, 2147483392
  %v20 = sext i32 %v18 to i64
  %v21 = add i64 %param0_i64, %v20
  %v23 = add i32 %v22, %v2
  %v24 = add i32 %v23, %v11
  %v25 = icmp sle i32 %v24, 2147483392
  %v26 = sext i32 %v24 to i64
  %v27 = add i64 %param0_i64, %v26
  %v28 = add i32 %v11, %v2
  %v30 = add i32 %v29, %v28
  %v31 = icmp sle i32 %v30, 2147483392
  %v32 = sext i32 %v30 to i64
  %v33 = add i64 %param0_i64, %v32
  %v35 = add i32 %v34, %v28
  %v36 = icmp sle i32 %v35, 2147483392
  %v37 = sext i32 %v35 to i64
  %v38 = add i64 %param0_i64, %v37
  %v39 = add i64 %param8_i64, %v26
  %t40 = and i1 true, %v3
  %t41 = and i1 %t40, %v13
  %t42 = and i1 %t41, %v19
  %t43 = and i1 %t42, %v25
  %t44 = and i1 %t43, %v31
  %t45 = and i1 %t44, %v36
  %t46 = and i1 %t45, %v8
  br i1 %t46, label %f0, label %s0
f0:
  br label %f0_pre
f0_pre:
  %t47 = mul nuw nsw i32 0, 1
  %t48 = add nuw nsw i32 %t47, 0
  %t49 = mul nuw nsw i32 %t48, 256
  br label %f0_x
f0_x:
  %f0_tid_x = phi i32 [ 0, %f0_pre ], [ %f0_x_after, %f0_x_latch ]
  %t50 = add nuw nsw i32 %t49, %f0_tid_x
  %t51 = zext i32 %t50 to i64
  br label %f0_b0
f0_b0:
  br label %f0_b1
f0_b1:
  %v52 = zext i32 %f0_tid_x to i64
  %v53 = add i32 %v1, %f0_tid_x
  br label %f0_b2
f0_b2:
  %v54 = add i32 %v9, %v53
  %v55 = add i32 %v54, %v11
  %v56 = zext i32 %f0_tid_x to i64
  %v57 = mul nuw nsw i64 %v56, 1
  %v58 = add nsw i64 %v14, %v57
  %v59 = add i64 %param0_i64, %v58
  %t60 = and i64 %param0_i64, 137438953471
  %t61 = getelementptr i8, ptr %global, i64 %t60
  %t62 = getelementptr i8, ptr %t61, i64 %v14
  %t63 = getelementptr i8, ptr %t62, i64 %v56
  %v64 = load i8, ptr %t63, align 1, !llvm.access.group !0
  %v65 = zext i8 %v64 to i32
  %v66 = add i32 %v16, %v53
  %v67 = add i32 %v66, %v11
  %v68 = zext i32 %f0_tid_x to i64
  %v69 = mul nuw nsw i64 %v68, 1
  %v70 = add nsw i64 %v20, %v69
  %v71 = add i64 %param0_i64, %v70
  %t72 = and i64 %param0_i64, 137438953471
  %t73 = getelementptr i8, ptr %global, i64 %t72
  %t74 = getelementptr i8, ptr %t73, i64 %v20
  %t75 = getelementptr i8, ptr %t74, i64 %v68
  %v76 = load i8, ptr %t75, align 1, !llvm.access.group !0
  %v77 = zext i8 %v76 to i32
  %v78 = add i32 %v22, %v53
  %v79 = add i32 %v78, %v11
  %v80 = zext i32 %f0_tid_x to i64
  %v81 = mul nuw nsw i64 %v80, 1
  %v82 = add nsw i64 %v26, %v81
  %v83 = add i64 %param0_i64, %v82
  %t84 = and i64 %param0_i64, 137438953471
  %t85 = getelementptr i8, ptr %global, i64 %t84
  %t86 = getelementptr i8, ptr %t85, i64 %v26
  %t87 = getelementptr i8, ptr %t86, i64 %v80
  %v88 = load i8, ptr %t87, align 1, !llvm.access.group !0
  %v89 = zext i8 %v88 to i32
  %v90 = add i32 %v11, %v53
  %v91 = add i32 %v29, %v90
  %v92 = zext i32 %f0_tid_x to i64
  %v93 = mul nuw nsw i64 %v92, 1
  %v94 = add nsw i64 %v32, %v93
  %v95 = add i64 %param0_i64, %v94
  %t96 = and i64 %param0_i64, 137438953471
  %t97 = getelementptr i8, ptr %global, i64 %t96
  %t98 = getelementptr i8, ptr %t97, i64 %v32
  %t99 = getelementptr i8, ptr %t98, i64 %v92
  %v100 = load i8, ptr %t99, align 1, !llvm.access.group !0
  %v101 = zext i8 %v100 to i32
  %v102 = add i32 %v34, %v90
  %v103 = zext i32 %f0_tid_x to i64
  %v104 = mul nuw nsw i64 %v103, 1
  %v105 = add nsw i64 %v37, %v104
  %v106 = add i64 %param0_i64, %v105
  %t107 = and i64 %param0_i64, 137438953471
  %t108 = getelementptr i8, ptr %global, i64 %t107
  %t109 = getelementptr i8, ptr %t108, i64 %v37
  %t110 = getelementptr i8, ptr %t109, i64 %v103
  %v111 = load i8, ptr %t110, align 1, !llvm.access.group !0
  %v112 = zext i8 %v111 to i32
  %v113 = add nuw nsw i32 %v101, %v77
  %v114 = shl nuw nsw i32 %v113, 2
  %v115 = mul nuw nsw i32 %v89, 6
  %v116 = add nuw nsw i32 %v115, %v65
  %v117 = add nuw nsw i32 %v116, %v112
  %v118 = add nuw nsw i32 %v117, %v114
  %v119 = add nuw nsw i32 %v118, 8
  %v120 = lshr i32 %v119, 4
  %v121 = add i64 %param8_i64, %v82
  %v122 = trunc i32 %v120 to i8
  %t123 = and i64 %param8_i64, 137438953471
  %t124 = getelementptr i8, ptr %global, i64 %t123
  %t125 = getelementptr i8, ptr %t124, i64 %v26
  %t126 = getelementptr i8, ptr %t125, i64 %v80
  store i8 %v122, ptr %t126, align 1, !llvm.access.group !0
  br label %f0_b3
f0_b3:
  br label %f0_b4
f0_b4:
  br label %f0_x_latch0
f0_x_latch0:
  br label %f0_x_latch
f0_x_latch:
  %f0_x_after = add nuw nsw i32 %f0_tid_x, 1
  %t127 = icmp ult i32 %f0_x_after, 256
  br i1 %t127, label %f0_x, label %f0_x_out, !llvm.loop !1
f0_x_out:
  br label %f0_end
f0_end:
  br label %f0_s0
f0_s0:
  br label %f0_s1
f0_s1:
  br label %f0_s2
f0_s2:
  br label %f0_s3
f0_s3:
  br label %f0_s4
f0_s4:
  br label %block_next
s0:
  br label %g0_pre
g0_pre:
  %t128 = mul nuw nsw i32 0, 1
  %t129 = add nuw nsw i32 %t128, 0
  %t130 = mul nuw nsw i32 %t129, 256
  br label %g0_x
g0_x:
  %g0_tid_x = phi i32 [ 0, %g0_pre ], [ %g0_x_after, %g0_x_latch ]
  %t131 = add nuw nsw i32 %t130, %g0_tid_x
  %t132 = zext i32 %t131 to i64
  br label %g0_b0
g0_b0:
  br label %g0_b1
g0_b1:
  %v133 = zext i32 %g0_tid_x to i64
  %v134 = add i32 %v1, %g0_tid_x
  %v135 = icmp sge i32 %v134, %param16_i32
  br i1 %v135, label %g0_b3, label %g0_b2
g0_b2:
  %v136 = add i32 %v9, %v134
  %v137 = add i32 %v136, %v11
  %v138 = sext i32 %v137 to i64
  %v139 = add i64 %param0_i64, %v138
  %t140 = and i64 %param0_i64, 137438953471
  %t141 = getelementptr i8, ptr %global, i64 %t140
  %t142 = getelementptr i8, ptr %t141, i64 %v138
  %v143 = load i8, ptr %t142, align 1, !llvm.access.group !5
  %v144 = zext i8 %v143 to i32
  %v145 = add i32 %v16, %v134
  %v146 = add i32 %v145, %v11
  %v147 = sext i32 %v146 to i64
  %v148 = add i64 %param0_i64, %v147
  %t149 = and i64 %param0_i64, 137438953471
  %t150 = getelementptr i8, ptr %global, i64 %t149
  %t151 = getelementptr i8, ptr %t150, i64 %v147
  %v152 = load i8, ptr %t151, align 1, !llvm.access.group !5
  %v153 = zext i8 %v152 to i32
  %v154 = add i32 %v22, %v134
  %v155 = add i32 %v154, %v11
  %v156 = sext i32 %v155 to i64
  %v157 = add i64 %param0_i64, %v156
  %t158 = and i64 %param0_i64, 137438953471
  %t159 = getelementptr i8, ptr %global, i64 %t158
  %t160 = getelementptr i8, ptr %t159, i64 %v156
  %v161 = load i8, ptr %t160, align 1, !llvm.access.group !5
  %v162 = zext i8 %v161 to i32
  %v163 = add i32 %v11, %v134
  %v164 = add i32 %v29, %v163
  %v165 = sext i32 %v164 to i64
  %v166 = add i64 %param0_i64, %v165
  %t167 = and i64 %param0_i64, 137438953471
  %t168 = getelementptr i8, ptr %global, i64 %t167
  %t169 = getelementptr i8, ptr %t168, i64 %v165
  %v170 = load i8, ptr %t169, align 1, !llvm.access.group !5
  %v171 = zext i8 %v170 to i32
  %v172 = add i32 %v34, %v163
  %v173 = sext i32 %v172 to i64
  %v174 = add i64 %param0_i64, %v173
  %t175 = and i64 %param0_i64, 137438953471
  %t176 = getelementptr i8, ptr %global, i64 %t175
  %t177 = getelementptr i8, ptr %t176, i64 %v173
  %v178 = load i8, ptr %t177, align 1, !llvm.access.group !5
  %v179 = zext i8 %v178 to i32
  %v180 = add nuw nsw i32 %v171, %v153
  %v181 = shl nuw nsw i32 %v180, 2
  %v182 = mul nuw nsw i32 %v162, 6
  %v183 = add nuw nsw i32 %v182, %v144
  %v184 = add nuw nsw i32 %v183, %v179
  %v185 = add nuw nsw i32 %v184, %v181
  %v186 = add nuw nsw i32 %v185, 8
  %v187 = lshr i32 %v186, 4
  %v188 = add i64 %param8_i64, %v156
  %v189 = trunc i32 %v187 to i8
  %t190 = and i64 %param8_i64, 137438953471
  %t191 = getelementptr i8, ptr %global, i64 %t190
  %t192 = getelementptr i8, ptr %t191, i64 %v156
  store i8 %v189, ptr %t192, align 1, !llvm.access.group !5
  br label %g0_b3
g0_b3:
  br label %g0_b4
g0_b4:
  br label %g0_x_latch0
g0_x_latch0:
  br label %g0_x_latch
g0_x_latch:
  %g0_x_after = add nuw nsw i32 %g0_tid_x, 1
  %t193 = icmp ult i32 %g0_x_after, 256
  br i1 %t193, label %g0_x, label %g0_x_out, !llvm.loop !6
g0_x_out:
  br label %g0_end
g0_end:
  br label %g0_s0
g0_s0:
  br label %g0_s1
g0_s1:
  br label %block_next
block_next:
  %block_after = add i64 %block, 1
  br label %block_head
done:
  ret i32 0
trapped:
  ret i32 1
}
declare i32 @llvm.smax.i32(i32, i32)
declare i32 @llvm.smin.i32(i32, i32)
declare i32 @llvm.umax.i32(i32, i32)
attributes #0 = { nounwind }
!0 = distinct !{}
!1 = distinct !{!1, !2}
!2 = !{!"llvm.loop.parallel_accesses", !0}
!3 = !{!"llvm.loop.vectorize.enable", i1 false}
!4 = !{!"llvm.loop.unroll.disable"}
!5 = distinct !{}
!6 = distinct !{!6, !7, !8, !9}
!7 = !{!"llvm.loop.parallel_accesses", !5}
!8 = !{!"llvm.loop.vectorize.enable", i1 false}
!9 = !{!"llvm.loop.unroll.disable"}
